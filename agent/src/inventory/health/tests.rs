use super::*;

/// A disk that answers from memory; a page that it has not is an error.
#[derive(Default)]
struct Answers {
    nvme: Option<[u8; 512]>,
    fails: Option<bool>,
    pages: Vec<(u8, [u8; 512])>,
}

fn refuses() -> io::Error {
    io::Error::from(io::ErrorKind::Unsupported)
}

impl Asked for Answers {
    fn nvme_log(&self) -> io::Result<[u8; NVME_LOG_BYTES]> {
        self.nvme.ok_or_else(refuses)
    }

    fn ata_fails(&self) -> io::Result<bool> {
        self.fails.ok_or_else(refuses)
    }

    fn ata_statistics(&self, page: u8) -> io::Result<[u8; STATISTICS_BYTES]> {
        let found = self.pages.iter().find(|(number, _)| *number == page);
        found.map(|(_, page)| *page).ok_or_else(refuses)
    }
}

fn log(fields: &[(usize, u8)]) -> [u8; 512] {
    let mut log = [0; 512];
    // 38 °C, all spare blocks.
    (log[1], log[2], log[3]) = (0x37, 0x01, 100);
    for (at, value) in fields {
        log[*at] = *value;
    }
    log
}

#[test]
fn nvme_says_how_it_is() {
    type Case = (&'static [(usize, u8)], HealthStatus, &'static [&'static str]);
    let cases: [Case; 6] = [
        (&[(5, 7), (128, 200)], HealthStatus::Ok, &[]),
        (
            &[(0, 2)],
            HealthStatus::Warning,
            &["its temperature is outside of the maker's limits"],
        ),
        (&[(160, 3)], HealthStatus::Warning, &["3 errors of its medium"]),
        (&[(5, 104)], HealthStatus::Warning, &["104 % of its life is used"]),
        (
            &[(0, 1), (5, 104)],
            HealthStatus::Failing,
            &[
                "its spare blocks are below the maker's limit",
                "104 % of its life is used",
            ],
        ),
        (
            &[(0, 8)],
            HealthStatus::Failing,
            &["its medium has become read-only"],
        ),
    ];
    for (fields, status, reasons) in cases {
        let disk = Answers {
            nvme: Some(log(fields)),
            ..Answers::default()
        };
        let health = of(Transport::Nvme, &disk).unwrap().unwrap();
        assert_eq!(health.status(), status, "{fields:?}");
        assert_eq!(health.reasons, reasons, "{fields:?}");
        assert_eq!(
            (health.temperature_celsius, health.spare_percent),
            (Some(38), Some(100))
        );
    }
}

fn page(number: u8, at: usize, value: u64) -> (u8, [u8; 512]) {
    let mut page = [0; 512];
    page[2] = number;
    page[at..at + 8].copy_from_slice(&(value | 0xC0 << 56).to_le_bytes());
    (number, page)
}

#[test]
fn ata_says_how_it_is() {
    let disk = Answers {
        fails: Some(false),
        pages: vec![page(1, 16, 41_000), page(5, 8, 0xF6), page(7, 8, 12)],
        ..Answers::default()
    };
    let health = of(Transport::Sata, &disk).unwrap().unwrap();
    assert_eq!((health.status(), health.reasons.len()), (HealthStatus::Ok, 0));
    assert_eq!(
        (
            health.power_on_hours,
            health.temperature_celsius,
            health.used_percent
        ),
        (Some(41_000), Some(-10), Some(12))
    );
    assert_eq!(health.media_errors, None, "it has no such page: not zero");

    let failing = Answers {
        fails: Some(true),
        pages: vec![page(4, 8, 9)],
        ..Answers::default()
    };
    let health = of(Transport::Sata, &failing).unwrap().unwrap();
    assert_eq!(health.status(), HealthStatus::Failing);
    assert_eq!(
        health.reasons,
        ["SMART says that it fails", "9 uncorrectable errors reported"]
    );
}

#[test]
fn figures_that_are_not_valid_are_no_figures() {
    let (number, mut unsupported) = page(1, 16, 5);
    unsupported[23] = 0x80;
    let disk = Answers {
        fails: Some(false),
        pages: vec![(number, unsupported), (7, [0; 512])],
        ..Answers::default()
    };
    let health = of(Transport::Sata, &disk).unwrap().unwrap();
    assert_eq!((health.power_on_hours, health.used_percent), (None, None));
}

#[test]
fn a_disk_that_does_not_answer_says_nothing() {
    assert!(of(Transport::Nvme, &Answers::default()).is_err());
    assert!(of(Transport::Sata, &Answers::default()).is_err());
    assert_eq!(of(Transport::Virtio, &Answers::default()).unwrap(), None);
}
