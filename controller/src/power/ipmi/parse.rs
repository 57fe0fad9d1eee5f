//! What `ipmitool` prints. It has no form for programs, but for sensors.

use crate::power::{
    bmc::{Hardware, Health, PowerState, Sensor, SensorKind},
    redfish::plain,
};

const MOST_SENSORS: usize = 256;

/// Why it has failed, by what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    Silent,
    Credentials,
    Forbidden,
    Other,
}

pub(super) fn refusal(said: &str) -> Refusal {
    let said = said.to_ascii_lowercase();
    let has = |parts: &[&str]| parts.iter().any(|part| said.contains(part));
    if has(&["insufficient privilege", "privilege level"]) {
        Refusal::Forbidden
    } else if has(&[
        "rakp 2 hmac is invalid",
        "hmac fail",
        "unauthorized name",
        "invalid user",
        "rakp 2 message indicates an error : unauthorized",
    ]) {
        Refusal::Credentials
    } else if has(&[
        "unable to establish",
        "timeout",
        "timed out",
        "no response",
        "address lookup",
        "could not open socket",
        "node busy",
        "session timeout",
    ]) {
        Refusal::Silent
    } else {
        Refusal::Other
    }
}

/// What it does on its way, and says with -v.
const CHATTER: [&str; 7] = [
    "Loading IANA",
    "Running Get",
    "Invalid completion code",
    "Discovered IPMB",
    "Unable to Get Channel Cipher Suites",
    "Get HPM.x",
    // Nobody types into it.
    "tcgetattr",
];

/// The lines that give a reason.
pub(super) fn reasons(said: &str) -> String {
    let is_reason = |line: &&str| {
        !CHATTER
            .iter()
            .any(|chatter| line.trim_start().starts_with(chatter))
    };
    said.lines().filter(is_reason).collect::<Vec<_>>().join("; ")
}

pub(super) fn power(output: &str) -> PowerState {
    let output = output.to_ascii_lowercase();
    if output.contains("power is on") {
        PowerState::On
    } else if output.contains("power is off") {
        PowerState::Off
    } else {
        PowerState::Unknown
    }
}

/// The values of "Name : value".
fn values<'a>(output: &'a str, name: &'a str) -> impl Iterator<Item = String> + 'a {
    output.lines().filter_map(move |line| {
        let (key, value) = line.split_once(':')?;
        let value = plain(value);
        (key.trim() == name && !value.is_empty()).then_some(value)
    })
}

/// Of `mc info`.
pub(super) fn controller(output: &str, found: &mut Hardware) {
    found.bmc_version = values(output, "Firmware Revision").next().unwrap_or_default();
    if let Some(vendor) = values(output, "Manufacturer Name").find(|name| !name.starts_with("Unknown")) {
        found.vendor = vendor;
    }
}

/// Of `fru print 0`: the product, or else the board.
pub(super) fn unit(output: &str, found: &mut Hardware) {
    let first = |names: [&str; 2]| names.into_iter().find_map(|name| values(output, name).next());
    if let Some(vendor) = first(["Product Manufacturer", "Board Mfg"]) {
        found.vendor = vendor;
    }
    found.model = first(["Product Name", "Board Product"]).unwrap_or_default();
    found.serial = first(["Product Serial", "Board Serial"]).unwrap_or_default();
}

/// Of `-c sdr list`: name, reading, unit, state; a discrete sensor has no unit.
pub(super) fn sensors(output: &str, found: &mut Hardware) {
    let mut worst = Health::Unknown;
    for line in output.lines().take(MOST_SENSORS) {
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        let [name, reading, unit, state, ..] = fields.as_slice() else {
            continue;
        };
        let (kind, unit) = match *unit {
            "degrees C" => (SensorKind::Temperature, "Cel"),
            "RPM" => (SensorKind::Fan, "RPM"),
            "Watts" => (SensorKind::Power, "W"),
            "Volts" => (SensorKind::Voltage, "V"),
            "percent" => (SensorKind::Fan, "%"),
            _ => continue,
        };
        let health = match *state {
            "ok" => Health::Ok,
            "nc" | "lnc" | "unc" => Health::Warning,
            "cr" | "nr" | "lcr" | "ucr" | "lnr" | "unr" => Health::Critical,
            _ => Health::Unknown,
        };
        if health != Health::Unknown && (worst == Health::Unknown || health > worst) {
            worst = health;
        }
        found.sensors.push(Sensor {
            name: plain(name),
            kind,
            reading: reading.parse().ok().filter(|reading: &f64| reading.is_finite()),
            unit: unit.to_owned(),
            health,
        });
    }
    found.health = worst;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_told_apart() {
        for (said, expected) in [
            (
                "Error: Unable to establish IPMI v2 / RMCP+ session",
                Refusal::Silent,
            ),
            (
                "> RAKP 2 HMAC is invalid Error: Unable to establish IPMI v2 / RMCP+ session",
                Refusal::Credentials,
            ),
            (
                "Set Chassis Power Control to Up/On failed: Insufficient privilege level",
                Refusal::Forbidden,
            ),
            (
                "Set Chassis Power Control to Up/On failed: Command not supported in present state",
                Refusal::Other,
            ),
        ] {
            assert_eq!(refusal(said), expected, "{said}");
        }
    }

    #[test]
    fn what_it_says_on_its_way_is_no_reason() {
        let said = "Loading IANA PEN Registry...\n> RAKP 2 HMAC is invalid\nError: Unable to establish IPMI v2 / RMCP+ session\n";
        assert_eq!(
            reasons(said),
            "> RAKP 2 HMAC is invalid; Error: Unable to establish IPMI v2 / RMCP+ session"
        );
        assert_eq!(reasons(""), "");
    }

    #[test]
    fn power_is_read_and_nothing_is_guessed() {
        assert_eq!(power("Chassis Power is on\n"), PowerState::On);
        assert_eq!(power("Chassis Power is off\n"), PowerState::Off);
        assert_eq!(power("Chassis Power Control: Up/On\n"), PowerState::Unknown);
    }

    #[test]
    fn what_it_prints_is_taken_into_hardware() {
        let mut found = Hardware::default();
        controller(
            "Device ID                 : 32\nFirmware Revision         : 9.08\nManufacturer Name         : Unknown (0x1291)\n",
            &mut found,
        );
        unit(
            "FRU Device Description : Builtin FRU Device (ID 0)\n Board Mfg             : Old\n Product Manufacturer  : Older Inc.\n \
             Product Name          : R1\n Product Serial        : S-1\n",
            &mut found,
        );
        sensors(
            "CPU Temp,42,degrees C,ok\nFAN1,,RPM,ns\nFAN2,9000,RPM,cr\nVcore,0.9,Volts,ok\nChassis Intru,0x00,discrete,ok\nnonsense\n",
            &mut found,
        );
        assert_eq!(
            (found.bmc_version.as_str(), found.vendor.as_str()),
            ("9.08", "Older Inc.")
        );
        assert_eq!((found.model.as_str(), found.serial.as_str()), ("R1", "S-1"));
        let readings: Vec<_> = found.sensors.iter().map(|one| (one.kind, one.reading)).collect();
        assert_eq!(
            readings,
            [
                (SensorKind::Temperature, Some(42.0)),
                (SensorKind::Fan, None),
                (SensorKind::Fan, Some(9000.0)),
                (SensorKind::Voltage, Some(0.9)),
            ]
        );
        assert_eq!(found.health, Health::Critical);
    }
}
