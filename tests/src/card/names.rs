//! Names, ids and pages as Google's API improvement proposals have them, which OPI follows.

use std::collections::BTreeMap;
use std::ops::Bound;

use tonic::Status;

/// Entries of a page when the caller names no number, and at most.
const PAGE: (usize, usize) = (50, 250);

/// The id that a caller has chosen, or a new one (AIP-122, AIP-133).
pub fn id(chosen: String) -> Result<String, Status> {
    if chosen.is_empty() {
        return Ok(format!("opi-{}", uuid::Uuid::new_v4()));
    }
    let good = chosen.len() <= 63
        && chosen.starts_with(|first: char| first.is_ascii_lowercase())
        && !chosen.ends_with('-')
        && chosen
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if good {
        return Ok(chosen);
    }
    Err(Status::invalid_argument(format!(
        "the id {chosen:?} is none: lower-case letters, digits and hyphens, a letter first, 63 at most"
    )))
}

/// `parent/collection/id`.
pub fn name(parent: Option<&str>, collection: &str, id: &str) -> String {
    match parent {
        Some(parent) => format!("{parent}/{collection}/{id}"),
        None => format!("{collection}/{id}"),
    }
}

/// Whether `name` is below `parent`.
pub fn is_below(name: &str, parent: &str) -> bool {
    name.strip_prefix(parent)
        .is_some_and(|rest| rest.starts_with('/'))
}

/// What a name is below of; empty for the first.
pub fn parent(name: &str) -> &str {
    let above = name.rsplit_once('/').and_then(|(rest, _)| rest.rsplit_once('/'));
    above.map_or("", |(parent, _)| parent)
}

/// The last part of a name.
pub fn last(name: &str) -> &str {
    name.rsplit_once('/').map_or(name, |(_, last)| last)
}

/// One page of a shelf, and the token of the next one (AIP-158). The token is the last name seen, in hex.
pub fn page<R: Clone>(
    shelf: &BTreeMap<String, R>,
    parent: Option<&str>,
    size: i32,
    token: &str,
) -> Result<(Vec<R>, String), Status> {
    let size = match usize::try_from(size) {
        Ok(0) => PAGE.0,
        Ok(size) => size.min(PAGE.1),
        Err(_) => return Err(Status::invalid_argument("page_size is negative")),
    };
    let after = match token {
        "" => Bound::Unbounded,
        token => hex::decode(token)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .map(Bound::Excluded)
            .ok_or_else(|| Status::invalid_argument("page_token was not made here"))?,
    };
    let mut of_parent = shelf
        .range::<String, _>((after, Bound::Unbounded))
        .filter(|(name, _)| parent.is_none_or(|parent| is_below(name, parent)))
        .peekable();
    let mut last = String::new();
    let mut found = Vec::new();
    while found.len() < size
        && let Some((name, resource)) = of_parent.next()
    {
        last.clone_from(name);
        found.push(resource.clone());
    }
    let next = match of_parent.peek() {
        Some(_) => hex::encode(last),
        None => String::new(),
    };
    Ok((found, next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_of_the_proposals() {
        for good in ["a", "v01k9", "opi-3f0c"] {
            assert_eq!(id(good.to_owned()).unwrap(), good);
        }
        for bad in ["V1", "1v", "a-", "a/b", "a_b", &"a".repeat(64)] {
            assert_eq!(
                id(bad.to_owned()).unwrap_err().code(),
                tonic::Code::InvalidArgument
            );
        }
        assert_ne!(id(String::new()).unwrap(), id(String::new()).unwrap());
    }

    #[test]
    fn pages_leave_nothing_out() {
        let shelf: BTreeMap<String, u32> = (0..7).map(|n| (format!("a/{n}"), n)).collect();
        let mut seen = Vec::new();
        let mut token = String::new();
        loop {
            let (some, next) = page(&shelf, Some("a"), 3, &token).unwrap();
            seen.extend(some);
            if next.is_empty() {
                break;
            }
            token = next;
        }
        assert_eq!(seen, (0..7).collect::<Vec<_>>());
        assert_eq!(page(&shelf, Some("b"), 3, "").unwrap(), (vec![], String::new()));
        assert!(page(&shelf, None, -1, "").is_err());
        assert!(page(&shelf, None, 0, "zz").is_err());
    }

    #[test]
    fn parts_of_names() {
        let name = "nvmeSubsystems/s/nvmeNamespaces/n";
        assert_eq!((parent(name), last(name)), ("nvmeSubsystems/s", "n"));
        assert_eq!(parent("nvmeSubsystems/s"), "");
        assert!(is_below(name, "nvmeSubsystems/s") && !is_below("nvmeSubsystems/s2/x/n", "nvmeSubsystems/s"));
    }
}
