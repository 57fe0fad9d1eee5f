use imprint_proto::agent::v1::CloudInit;

use super::*;

fn report(state: CloudInitState, errors: &[&str], datasource: &str) -> FirstBootReport {
    FirstBootReport {
        cloud_init_status: "running: modules-final".to_owned(),
        waited_seconds: 1200,
        cloud_init: Some(CloudInit {
            state: state.into(),
            errors: errors.iter().map(|&text| text.to_owned()).collect(),
            warnings: Vec::new(),
            datasource: datasource.to_owned(),
        }),
        ..FirstBootReport::default()
    }
}

#[test]
fn a_system_works_when_its_cloud_init_has_ended_well_or_there_is_none() {
    use CloudInitState::{Absent, Disabled, Ended, NotStarted, Running};
    let cloud = "DataSourceNoCloud [seed=x]";
    for (state, errors, datasource, expected) in [
        (Ended, &[][..], cloud, None),
        (Absent, &[][..], "", None),
        (Disabled, &[][..], "", None),
        (NotStarted, &[][..], "", None),
        (Ended, &["boom."][..], cloud, Some("system: boom.")),
        (Ended, &["boom", "bang"][..], cloud, Some("boom (and 1 more).")),
        (
            Running,
            &["boom"][..],
            cloud,
            Some("waited 1200 s for it (running: modules-final)"),
        ),
        (Ended, &[][..], "DataSourceNone", Some("has not found the data")),
    ] {
        let found = fault(&report(state, errors, datasource), "01D");
        assert_eq!(found.is_some(), expected.is_some(), "{state:?} {errors:?}");
        if let (Some(found), Some(expected)) = (found, expected) {
            assert!(found.cause.contains(expected), "{}", found.cause);
            assert!(found.remedy.contains("imprint deployment accept 01D"));
            assert_eq!(found.step, "first_boot_report");
        }
    }
    // A plugin of before says how cloud-init began, when it may still run.
    let before = FirstBootReport {
        cloud_init_status: "running: init".to_owned(),
        ..FirstBootReport::default()
    };
    assert_eq!(fault(&before, "01D"), None);
}

#[test]
fn what_is_not_right_though_it_works_is_told() {
    let mut report = report(CloudInitState::Ended, &[], "DataSourceNoCloud");
    report.boot_entry = "Boot0003 debian".to_owned();
    let told =
        |report: &FirstBootReport, written| FirstBoot::of(report, written, Timestamp::UNIX_EPOCH).warnings;
    let written = Some("Boot0003 debian \\EFI\\debian\\shimx64.efi");
    assert_eq!(told(&report, written), [""; 0]);
    assert_eq!(told(&report, None), [""; 0]);
    report.boot_entry = "Boot0001 UEFI Misc Device".to_owned();
    report.network_differences = vec!["eth0 is down".to_owned()];
    report.failed_units = vec!["x.service".to_owned()];
    if let Some(cloud_init) = &mut report.cloud_init {
        cloud_init.warnings = vec!["no such key".to_owned()];
    }
    let all = told(&report, written);
    assert_eq!(all.len(), 4, "{all:?}");
    for (text, part) in all.iter().zip([
        "cloud-init: no such key",
        "started Boot0001 UEFI Misc Device",
        "network: eth0 is down",
        "x.service has failed",
    ]) {
        assert!(text.contains(part), "{text}");
    }
    report.cloud_init = Some(CloudInit {
        state: CloudInitState::Disabled.into(),
        ..CloudInit::default()
    });
    assert!(told(&report, None)[0].contains("turned off"));
}

#[test]
fn what_is_kept_is_bounded() {
    let mut report = report(CloudInitState::Ended, &[], "");
    report.failed_units = vec!["x\n".repeat(10_000); 10_000];
    report.hostname = "h".repeat(10_000);
    let kept = FirstBoot::of(&report, None, Timestamp::UNIX_EPOCH);
    assert_eq!((kept.warnings.len(), kept.hostname.len()), (MAX_LIST, MAX_WORD));
    assert!(kept.warnings[0].len() <= MAX_TEXT && !kept.warnings[0].contains('\n'));
}
