//! What proves that disks were wiped.

use comfy_table::Table;

use super::{Moment, columns, or_dash, plain};
use crate::{answer::WipeCertificate, measure};

pub fn wipes(wipes: &[WipeCertificate], moment: &Moment) -> Table {
    let mut table = columns(&["WHEN", "NODE", "DISK", "SIZE", "METHOD", "WIPED", "WHAT IT SAYS"]);
    for wipe in wipes {
        let disk = &wipe.disk;
        let name = ["serial", "wwn", "by_path"]
            .into_iter()
            .filter_map(|fact| disk[fact].as_str())
            .find(|text| !text.is_empty());
        let said = if wipe.wiped { &wipe.statement } else { &wipe.cause };
        table.add_row([
            wipe.received_at
                .map_or_else(|| "-".into(), |at| measure::time(at, &moment.zone)),
            plain(&wipe.node_name),
            or_dash(name),
            disk["size_bytes"]
                .as_u64()
                .map_or_else(|| "-".into(), measure::bytes),
            or_dash(Some(wipe.method.as_str()).filter(|method| !method.is_empty())),
            if wipe.wiped { "yes".into() } else { "NO".into() },
            plain(said),
        ]);
    }
    table
}
