//! What the fuzzers do with network data, which operators and clouds write.
//!
//! Each function takes one input and panics when a promise of `imprint-network` does not hold for it: whatever the text is,
//! there is an answer; what is taken is right, and is the same after it was written and read again. They are used twice, as
//! those of `lib.rs`: by the programs in `network_targets/`, and by `network/tests/fuzz_smoke.rs`.

use imprint_network::{Format, check::check, kept::Kept, read, render};

/// A target: its name, which is that of its folder of seeds, and its function.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 2] = [("network_data", network_data), ("network_kept", network_kept)];

/// Network data of either format.
///
/// # Panics
/// When a promise does not hold.
pub fn network_data(data: &[u8]) {
    let Ok(taken) = read(data) else { return };
    assert_eq!(check(&taken.network).errors, []);
    for format in Format::ALL {
        let rendered = render(&taken.network, format);
        for file in &rendered.files {
            assert!(
                !file.path.contains("..") && !file.path.starts_with('/'),
                "{}",
                file.path
            );
        }
        if matches!(format, Format::CloudInit | Format::Netplan) {
            let again = read(rendered.files[0].content.as_bytes()).expect("what was written is read");
            assert_eq!(again.network, taken.network);
        }
    }
}

/// The network as an installed system keeps it.
///
/// # Panics
/// When a promise does not hold.
pub fn network_kept(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(kept) = Kept::from_text(&text) {
        assert_eq!(Kept::from_text(&kept.to_text()), Ok(kept));
    }
}
