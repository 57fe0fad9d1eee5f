//! What is told of an agent that calls.

use imprint_proto::agent::v1 as wire;

use super::intake::clip;

/// The sentence of its event.
pub(super) fn connected_message(hello: &wire::Hello) -> String {
    let start = if hello.start_count > 1 {
        format!(", started {} times in this boot", hello.start_count)
    } else {
        String::new()
    };
    let defects = match hello.defects.as_slice() {
        [] => String::new(),
        defects => format!(
            "; its ramdisk is not complete: {}",
            defects
                .iter()
                .take(5)
                .map(|d| clip(d))
                .collect::<Vec<_>>()
                .join(", ")
        ),
    };
    format!(
        "The agent {} called from the ramdisk{start}{defects}.",
        clip(&hello.agent_version)
    )
}
