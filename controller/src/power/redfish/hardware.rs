//! What a server consists of and how it is.

use serde_json::Value;

use super::{
    Redfish,
    answer::{link, links, text},
    switch,
};
use crate::power::{
    BmcError,
    bmc::{Hardware, Health, Sensor, SensorKind},
};

const MOST_SENSORS: usize = 256;

fn health(status: &Value) -> Health {
    // The roll-up is of what is inside as well.
    let told = status["HealthRollup"]
        .as_str()
        .or_else(|| status["Health"].as_str());
    match told {
        Some("OK") => Health::Ok,
        Some("Warning") => Health::Warning,
        Some("Critical") => Health::Critical,
        _ => Health::Unknown,
    }
}

/// A kind of sensor in the older resources of a chassis.
struct List {
    /// Where they are listed.
    key: &'static str,
    kind: SensorKind,
    reading: &'static [&'static str],
    unit: &'static str,
}

const THERMAL: [List; 2] = [
    List {
        key: "Temperatures",
        kind: SensorKind::Temperature,
        reading: &["ReadingCelsius"],
        unit: "Cel",
    },
    List {
        key: "Fans",
        kind: SensorKind::Fan,
        reading: &["Reading", "CurrentReading"],
        unit: "RPM",
    },
];

const POWER: [List; 3] = [
    List {
        key: "PowerControl",
        kind: SensorKind::Power,
        reading: &["PowerConsumedWatts"],
        unit: "W",
    },
    List {
        key: "PowerSupplies",
        kind: SensorKind::Power,
        reading: &["PowerOutputWatts", "LastPowerOutputWatts"],
        unit: "W",
    },
    List {
        key: "Voltages",
        kind: SensorKind::Voltage,
        reading: &["ReadingVolts"],
        unit: "V",
    },
];

fn sensors(resource: &Value, lists: &[List], into: &mut Vec<Sensor>) {
    for list in lists {
        for one in resource[list.key].as_array().into_iter().flatten() {
            if into.len() >= MOST_SENSORS || one["Status"]["State"] == "Absent" {
                continue;
            }
            let name = [&one["Name"], &one["FanName"], &one["MemberId"]]
                .into_iter()
                .map(text)
                .find(|name| !name.is_empty());
            let unit = match one["ReadingUnits"].as_str() {
                Some("Percent") => "%",
                _ => list.unit,
            };
            into.push(Sensor {
                name: name.unwrap_or_else(|| list.key.to_owned()),
                kind: list.kind,
                reading: list.reading.iter().find_map(|key| one[*key].as_f64()),
                unit: unit.to_owned(),
                health: health(&one["Status"]),
            });
        }
    }
}

/// A resource of a newer chassis: readings beside their names.
fn metrics(resource: &Value, into: &mut Vec<Sensor>) {
    for one in resource["TemperatureReadingsCelsius"]
        .as_array()
        .into_iter()
        .flatten()
    {
        if into.len() < MOST_SENSORS {
            into.push(Sensor {
                name: text(&one["DeviceName"]),
                kind: SensorKind::Temperature,
                reading: one["Reading"].as_f64(),
                unit: "Cel".to_owned(),
                health: Health::Unknown,
            });
        }
    }
}

/// Bytes of a size in GiB, which may have a fraction.
fn bytes_of_gib(gib: &Value) -> u64 {
    let mib = gib.as_f64().map_or(0.0, |gib| (gib * 1024.0).round());
    if (0.0..1e12).contains(&mib) {
        (mib as u64) << 20
    } else {
        0
    }
}

impl Redfish {
    pub(super) async fn describe(&self) -> Result<Hardware, BmcError> {
        let system = self.system().await?.body;
        let mut found = Hardware {
            vendor: text(&system["Manufacturer"]),
            model: text(&system["Model"]),
            serial: text(&system["SerialNumber"]),
            uuid: text(&system["UUID"]),
            firmware_version: text(&system["BiosVersion"]),
            processors: system["ProcessorSummary"]["Count"]
                .as_u64()
                .and_then(|count| u32::try_from(count).ok())
                .unwrap_or(0),
            memory_bytes: bytes_of_gib(&system["MemorySummary"]["TotalSystemMemoryGiB"]),
            health: health(&system["Status"]),
            power: switch::state(&system),
            ..Hardware::default()
        };
        // The server is described all the same when a part of this is not there.
        if let Some(manager) = links(&system["Links"]["ManagedBy"]).first() {
            match self.client.get(manager).await {
                Ok(manager) => found.bmc_version = text(&manager.body["FirmwareVersion"]),
                Err(error) => missing(&mut found, "the BMC itself", error)?,
            }
        }
        match Self::chassis(&system) {
            None => found
                .missing
                .push("the server has no chassis with sensors".to_owned()),
            Some(path) => match self.client.get(&path).await {
                Ok(chassis) => self.read_sensors(&chassis.body, &mut found).await?,
                Err(error) => missing(&mut found, "the chassis", error)?,
            },
        }
        Ok(found)
    }

    async fn read_sensors(&self, chassis: &Value, found: &mut Hardware) -> Result<(), BmcError> {
        let mut had = false;
        for (key, lists) in [("Thermal", &THERMAL[..]), ("Power", &POWER)] {
            if let Some(path) = link(&chassis[key]) {
                had = true;
                match self.client.get(&path).await {
                    Ok(resource) => sensors(&resource.body, lists, &mut found.sensors),
                    Err(error) => missing(found, key, error)?,
                }
            }
        }
        if !had && let Some(path) = link(&chassis["ThermalSubsystem"]) {
            match self.thermal_metrics(&path).await {
                Ok(Some(resource)) => metrics(&resource, &mut found.sensors),
                Ok(None) => {}
                Err(error) => missing(found, "ThermalSubsystem", error)?,
            }
        }
        if let Some(path) = link(&chassis["EnvironmentMetrics"]) {
            match self.client.get(&path).await {
                Ok(resource) => found.sensors.push(Sensor {
                    name: "Power of the chassis".to_owned(),
                    kind: SensorKind::Power,
                    reading: resource.body["PowerWatts"]["Reading"].as_f64(),
                    unit: "W".to_owned(),
                    health: Health::Unknown,
                }),
                Err(error) => missing(found, "EnvironmentMetrics", error)?,
            }
        }
        Ok(())
    }

    async fn thermal_metrics(&self, path: &str) -> Result<Option<Value>, BmcError> {
        let subsystem = self.client.get(path).await?;
        match link(&subsystem.body["ThermalMetrics"]) {
            Some(path) => Ok(Some(self.client.get(&path).await?.body)),
            None => Ok(None),
        }
    }
}

/// What is not there, or broken, is told beside the rest; a service that is gone is gone.
fn missing(found: &mut Hardware, what: &str, error: BmcError) -> Result<(), BmcError> {
    match error {
        BmcError::Refused { .. } | BmcError::Strange { .. } | BmcError::Forbidden { .. } => {
            found.missing.push(format!("{what}: {error}"));
            Ok(())
        }
        error => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sensors_are_taken_as_they_are_told() {
        let mut found = Vec::new();
        let thermal = json!({
            "Temperatures": [
                {"Name": "CPU1", "ReadingCelsius": 41.5, "Status": {"State": "Enabled", "Health": "OK"}},
                {"Name": "CPU2", "ReadingCelsius": null, "Status": {"State": "Absent"}},
                7,
            ],
            "Fans": [{"FanName": "Fan 1", "Reading": 30, "ReadingUnits": "Percent", "Status": {"Health": "Critical"}}],
        });
        sensors(&thermal, &THERMAL, &mut found);
        assert_eq!(found.len(), 3);
        assert_eq!((found[0].name.as_str(), found[0].reading), ("CPU1", Some(41.5)));
        assert_eq!(found[1].reading, None);
        assert_eq!((found[2].unit.as_str(), found[2].health), ("%", Health::Critical));
        let many = json!({ "Temperatures": vec![json!({"Name": "T"}); 10_000] });
        sensors(&many, &THERMAL, &mut found);
        assert_eq!(found.len(), MOST_SENSORS);
    }

    #[test]
    fn sizes_of_memory_that_are_none_are_not_told() {
        assert_eq!(bytes_of_gib(&json!(384)), 384 << 30);
        assert_eq!(bytes_of_gib(&json!(0.5)), 512 << 20);
        for odd in [json!(-1), json!("64"), json!(1e300), Value::Null] {
            assert_eq!(bytes_of_gib(&odd), 0, "{odd}");
        }
    }
}
