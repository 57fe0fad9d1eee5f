//! What a caller says of a new image, in a query or in JSON, and what of it cannot be.

use std::{collections::BTreeMap, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, DeserializeOwned, IntoDeserializer, MapAccess, SeqAccess, Visitor, value},
};
use utoipa::{IntoParams, ToSchema};

use super::{
    CatalogError, License, Price, check_name,
    words::{BootMode, ImageKind, Target, Visibility},
};

const MAX_DESCRIPTION_CHARS: usize = 1024;
const MAX_WORD_CHARS: usize = 128;
const MAX_TAGS: usize = 64;
const MAX_TAG_CHARS: usize = 64;
const MAX_MODELS: usize = 256;
const MAX_PROPERTIES: usize = 128;
const MAX_PROPERTY_CHARS: usize = 1024;
/// More than any disk or machine has, and far below what the database can keep.
const MAX_BYTES: u64 = 1 << 56;

/// What a caller says of a new image. In a query, lists are words joined by commas, and objects are JSON text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ImageSpec {
    /// Name, unique within the project: 1 to 128 characters.
    pub name: String,
    /// The family whose version it is.
    #[serde(default)]
    pub family: Option<String>,
    /// Which version of the family.
    #[serde(default)]
    pub version: Option<String>,
    /// What it is for: at most 1,024 characters.
    #[serde(default)]
    pub description: Option<String>,
    /// What it holds; a system disk when it is left out.
    #[serde(default)]
    pub kind: Option<ImageKind>,
    /// Who may see it; private when it is left out. Only administrators import an image that is public or of the community
    /// at once, and only one that could be published so.
    #[serde(default)]
    pub visibility: Option<Visibility>,
    /// Where it can be used; the controller's own region when it is left out.
    #[serde(default)]
    pub region: Option<String>,
    /// Words to find it by.
    #[serde(default, deserialize_with = "list")]
    #[param(value_type = Option<String>)]
    pub tags: Vec<String>,
    /// Whatever is to be noted.
    #[serde(default, deserialize_with = "object")]
    #[param(value_type = Option<String>)]
    pub properties: BTreeMap<String, String>,
    /// "debian"
    #[serde(default)]
    pub os_distribution: Option<String>,
    /// "12"
    #[serde(default)]
    pub os_version: Option<String>,
    /// "x86_64"
    #[serde(default)]
    pub architecture: Option<String>,
    /// How firmware can start it.
    #[serde(default, deserialize_with = "list")]
    #[param(value_type = Option<String>)]
    pub boot_modes: Vec<BootMode>,
    /// The smallest disk that it can be used on; its own size when it is left out.
    #[serde(default)]
    pub min_disk_bytes: Option<u64>,
    /// The least memory that a machine must have.
    #[serde(default)]
    pub min_memory_bytes: Option<u64>,
    /// On what terms it may be used.
    #[serde(default, deserialize_with = "object")]
    #[param(value_type = Option<String>)]
    pub license: Option<License>,
    /// What its use costs.
    #[serde(default, deserialize_with = "object")]
    #[param(value_type = Option<String>)]
    pub price: Option<Price>,
    /// It cannot be deleted.
    #[serde(default)]
    pub protected: Option<bool>,
    /// It is never the newest of its family.
    #[serde(default)]
    pub exclude_from_latest: Option<bool>,
    /// It is encrypted in the store with a key of its own; as the configuration says when it is left out.
    #[serde(default)]
    pub encrypt: Option<bool>,
    /// What machines it was made for; bare metal when it is left out.
    #[serde(default)]
    pub target: Option<Target>,
    /// Model of the server that it was captured from.
    #[serde(default)]
    pub source_model: Option<String>,
    /// Id or name of the image that it was made from.
    #[serde(default)]
    pub parent: Option<String>,
    /// Models of servers that it was tried on.
    #[serde(default, deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    #[param(value_type = Option<String>)]
    pub certified_for: Vec<String>,
}

impl ImageSpec {
    /// Of an image that has a name and nothing else of its own.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ..Self::default()
        }
    }

    /// Refuses what cannot be kept, with the name of the field.
    pub fn check(&self) -> Result<(), CatalogError> {
        check_name(&self.name)?;
        for (field, text) in [
            ("family", &self.family),
            ("version", &self.version),
            ("region", &self.region),
        ] {
            check_label(field, text.as_deref())?;
        }
        for (field, text) in [
            ("os_distribution", &self.os_distribution),
            ("os_version", &self.os_version),
            ("architecture", &self.architecture),
            ("source_model", &self.source_model),
        ] {
            check_word(field, text.as_deref().unwrap_or_default())?;
        }
        check_description(self.description.as_deref().unwrap_or_default())?;
        check_tags(&self.tags)?;
        check_properties(&self.properties)?;
        check_models(&self.certified_for)?;
        check_bytes("min_disk_bytes", self.min_disk_bytes.unwrap_or(0))?;
        check_bytes("min_memory_bytes", self.min_memory_bytes.unwrap_or(0))?;
        self.license.as_ref().map_or(Ok(()), check_license)?;
        self.price.as_ref().map_or(Ok(()), check_price)
    }
}

fn bad(field: &'static str, reason: impl Into<String>) -> CatalogError {
    CatalogError::BadField {
        field,
        reason: reason.into(),
    }
}

/// Families, versions and regions: what a path or a command line can carry.
pub(super) fn check_label(field: &'static str, text: Option<&str>) -> Result<(), CatalogError> {
    let Some(text) = text else { return Ok(()) };
    match check_name(text) {
        Ok(()) => Ok(()),
        Err(CatalogError::BadName { reason }) => Err(bad(field, reason)),
        Err(other) => Err(other),
    }
}

pub(super) fn check_text(field: &'static str, text: &str, most: usize) -> Result<(), CatalogError> {
    let count = text.chars().count();
    if count > most {
        Err(bad(
            field,
            format!("it has {count} characters, and {most} are allowed"),
        ))
    } else if text.chars().any(|c| c.is_control() && c != '\n') {
        Err(bad(field, "it has control characters"))
    } else {
        Ok(())
    }
}

pub(super) fn check_word(field: &'static str, text: &str) -> Result<(), CatalogError> {
    check_text(field, text, MAX_WORD_CHARS)
}

pub(super) fn check_description(text: &str) -> Result<(), CatalogError> {
    check_text("description", text, MAX_DESCRIPTION_CHARS)
}

pub(super) fn check_tags(tags: &[String]) -> Result<(), CatalogError> {
    if tags.len() > MAX_TAGS {
        return Err(bad(
            "tags",
            format!("there are {}, and {MAX_TAGS} are allowed", tags.len()),
        ));
    }
    for tag in tags {
        check_text("tags", tag, MAX_TAG_CHARS)?;
        if tag.trim() != tag || tag.is_empty() || tag.contains([',', '\n']) {
            return Err(bad(
                "tags",
                format!("{tag:?} is empty, has a comma, or begins or ends with a space"),
            ));
        }
    }
    Ok(())
}

pub(super) fn check_models(models: &[String]) -> Result<(), CatalogError> {
    if models.len() > MAX_MODELS || models.iter().any(|model| model.trim().is_empty()) {
        return Err(bad("certified_for", "at most 256 models, none of them empty"));
    }
    models
        .iter()
        .try_for_each(|model| check_word("certified_for", model))
}

pub(super) fn check_properties(properties: &BTreeMap<String, String>) -> Result<(), CatalogError> {
    if properties.len() > MAX_PROPERTIES {
        return Err(bad(
            "properties",
            format!("there are {}, and {MAX_PROPERTIES} are allowed", properties.len()),
        ));
    }
    for (key, value) in properties {
        check_label("properties", Some(key))?;
        check_text("properties", value, MAX_PROPERTY_CHARS)?;
    }
    Ok(())
}

pub(super) fn check_bytes(field: &'static str, bytes: u64) -> Result<(), CatalogError> {
    if bytes > MAX_BYTES {
        return Err(bad(field, format!("{bytes} bytes are more than anything has")));
    }
    Ok(())
}

pub(super) fn check_license(license: &License) -> Result<(), CatalogError> {
    if license.name.is_empty() {
        return Err(bad("license", "it has no name"));
    }
    check_text("license", &license.name, MAX_WORD_CHARS)?;
    check_text("license", &license.reference, MAX_PROPERTY_CHARS)
}

pub(super) fn check_price(price: &Price) -> Result<(), CatalogError> {
    let (whole, part) = price.amount.split_once('.').unwrap_or((&price.amount, "0"));
    let digits =
        |text: &str, most| (1..=most).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole, 12) || !digits(part, 6) {
        return Err(bad("price", "the amount is not a decimal number like 0.05"));
    }
    if price.currency.len() != 3 || !price.currency.bytes().all(|b| b.is_ascii_uppercase()) {
        return Err(bad("price", "the currency is not three letters like EUR"));
    }
    Ok(())
}

/// A list, or words joined by commas.
fn list<'de, D: Deserializer<'de>, T: DeserializeOwned>(from: D) -> Result<Vec<T>, D::Error> {
    struct Words<T>(PhantomData<T>);

    impl<'de, T: DeserializeOwned> Visitor<'de> for Words<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list, or words joined by commas")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<T>, E> {
            let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
            words
                .map(|word| T::deserialize(word.into_deserializer()))
                .collect()
        }

        fn visit_unit<E: de::Error>(self) -> Result<Vec<T>, E> {
            Ok(Vec::new())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Vec<T>, A::Error> {
            Vec::deserialize(value::SeqAccessDeserializer::new(items))
        }
    }

    from.deserialize_any(Words(PhantomData))
}

/// An object, or its JSON text; the default when it is null or empty.
fn object<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(from: D) -> Result<T, D::Error> {
    struct Object<T>(PhantomData<T>);

    impl<'de, T: DeserializeOwned + Default> Visitor<'de> for Object<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object, or its JSON text")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            if text.is_empty() {
                return Ok(T::default());
            }
            serde_json::from_str(text).map_err(E::custom)
        }

        fn visit_unit<E: de::Error>(self) -> Result<T, E> {
            Ok(T::default())
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
            // Through a value: what `T` is, an option or a map, need not read itself from a map's accessor.
            let value = serde_json::Value::deserialize(value::MapAccessDeserializer::new(map))?;
            serde_json::from_value(value).map_err(de::Error::custom)
        }
    }

    from.deserialize_any(Object(PhantomData))
}

#[cfg(test)]
mod tests {
    use axum::extract::Query;
    use serde_json::json;

    use super::*;
    use crate::catalog::words::PricePer;

    #[test]
    fn a_query_and_json_say_the_same() {
        let whole = ImageSpec {
            family: Some("debian".into()),
            kind: Some(ImageKind::DataDisk),
            tags: vec!["web".into(), "2026".into()],
            boot_modes: vec![BootMode::Uefi, BootMode::Bios],
            properties: BTreeMap::from([("team".to_owned(), "a&b".to_owned())]),
            min_memory_bytes: Some(1 << 30),
            protected: Some(true),
            price: Some(Price {
                amount: "0.05".into(),
                currency: "EUR".into(),
                per: PricePer::Hour,
            }),
            ..ImageSpec::named("a")
        };
        whole.check().unwrap();
        let text = json!(whole).to_string();
        assert_eq!(serde_json::from_str::<ImageSpec>(&text).unwrap(), whole);

        let uri = "/?name=a&family=debian&kind=data-disk&tags=web,2026&boot_modes=uefi,%20bios&format=raw\
                   &properties=%7B%22team%22:%22a%26b%22%7D&min_memory_bytes=1073741824&protected=true\
                   &price=%7B%22amount%22:%220.05%22,%22currency%22:%22EUR%22,%22per%22:%22hour%22%7D&license=";
        let Query(read) = Query::<ImageSpec>::try_from_uri(&uri.parse().unwrap()).unwrap();
        assert_eq!(read, whole);
        let short: ImageSpec =
            serde_json::from_value(json!({"name": "a", "tags": null, "license": null})).unwrap();
        assert_eq!(short, ImageSpec::named("a"));
        for wrong in [
            "/?name=a&kind=floppy",
            "/?name=a&boot_modes=uefi,gpt",
            "/?name=a&license=GPL",
            "/?family=a",
        ] {
            assert!(
                Query::<ImageSpec>::try_from_uri(&wrong.parse().unwrap()).is_err(),
                "{wrong}"
            );
        }
    }

    #[test]
    fn what_cannot_be_kept_is_refused_by_name() {
        let price = |amount: &str, currency: &str| {
            Some(Price {
                amount: amount.into(),
                currency: currency.into(),
                per: PricePer::Deployment,
            })
        };
        let spec = || ImageSpec::named("a");
        for (field, spec) in [
            (
                "family",
                ImageSpec {
                    family: Some("a/b".into()),
                    ..spec()
                },
            ),
            (
                "version",
                ImageSpec {
                    version: Some(String::new()),
                    ..spec()
                },
            ),
            (
                "description",
                ImageSpec {
                    description: Some("x".repeat(1025)),
                    ..spec()
                },
            ),
            (
                "os_version",
                ImageSpec {
                    os_version: Some("1\t2".into()),
                    ..spec()
                },
            ),
            (
                "tags",
                ImageSpec {
                    tags: vec![" a".into()],
                    ..spec()
                },
            ),
            (
                "tags",
                ImageSpec {
                    tags: vec!["a".into(); 65],
                    ..spec()
                },
            ),
            (
                "properties",
                ImageSpec {
                    properties: BTreeMap::from([(String::new(), String::new())]),
                    ..spec()
                },
            ),
            (
                "min_disk_bytes",
                ImageSpec {
                    min_disk_bytes: Some(u64::MAX),
                    ..spec()
                },
            ),
            (
                "price",
                ImageSpec {
                    price: price("1,5", "EUR"),
                    ..spec()
                },
            ),
            (
                "price",
                ImageSpec {
                    price: price("-1", "EUR"),
                    ..spec()
                },
            ),
            (
                "price",
                ImageSpec {
                    price: price("1", "euro"),
                    ..spec()
                },
            ),
        ] {
            match spec.check() {
                Err(CatalogError::BadField { field: named, .. }) => assert_eq!(named, field),
                other => panic!("{field}: {other:?}"),
            }
        }
        assert!(matches!(
            ImageSpec::named("a/b").check(),
            Err(CatalogError::BadName { .. })
        ));
        ImageSpec {
            description: Some("x".repeat(1024)),
            price: price("12.50", "EUR"),
            ..spec()
        }
        .check()
        .unwrap();
    }
}
