//! Names of images: what may be one, and which known one somebody may have meant.

use super::CatalogError;

const MAX_CHARS: usize = 128;
const MAX_HINTS: usize = 5;

/// Refuses what could not be told from something else in a list, a path or a command line.
pub fn check_name(name: &str) -> Result<(), CatalogError> {
    let count = name.chars().count();
    let reason = if count == 0 || count > MAX_CHARS {
        format!("it has {count} characters, and 1 to {MAX_CHARS} are allowed")
    } else if name.trim() != name {
        "it begins or ends with a space".to_owned()
    } else if let Some(bad) = name.chars().find(|c| c.is_control() || *c == '/' || *c == '\\') {
        format!("it has the character {bad:?}")
    } else if name.parse::<ulid::Ulid>().is_ok() {
        "it looks like the id of an image".to_owned()
    } else {
        return Ok(());
    };
    Err(CatalogError::BadName { reason })
}

/// The known names nearest to one that is not known, best first.
pub(super) fn near(wanted: &str, known: impl IntoIterator<Item = String>) -> Vec<String> {
    let wanted = wanted.to_lowercase();
    let allowed = (wanted.chars().count() / 3).max(2);
    let mut hits: Vec<(usize, String)> = known
        .into_iter()
        .filter_map(|name| {
            let lower = name.to_lowercase();
            let part = !wanted.is_empty() && (lower.contains(&wanted) || wanted.contains(&lower));
            let distance = if part { 1 } else { edit_distance(&lower, &wanted) };
            (distance <= allowed).then_some((distance, name))
        })
        .collect();
    hits.sort();
    hits.truncate(MAX_HINTS);
    hits.into_iter().map(|(_, name)| name).collect()
}

/// How many characters must be put in, taken out or exchanged to make one text of the other (Levenshtein).
pub fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let exchanged = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = exchanged.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in [
            "a",
            "debian-12",
            "Windows Server 2025 (core)",
            "größe",
            &"x".repeat(128),
        ] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            " a",
            "a ",
            "a/b",
            "a\\b",
            "a\nb",
            "01ARZ3NDEKTSV4RRFFQ69G5FAV",
            &"x".repeat(129),
        ] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn distances_and_hints() {
        for (a, b, n) in [
            ("", "", 0),
            ("", "abc", 3),
            ("kitten", "sitting", 3),
            ("debian", "debain", 2),
        ] {
            assert_eq!((edit_distance(a, b), edit_distance(b, a)), (n, n), "{a} {b}");
        }
        let known = || ["debian-12", "debian-13", "ubuntu-24.04", "rocky-9"].map(str::to_owned);
        assert_eq!(near("debain-12", known()), ["debian-12", "debian-13"]);
        assert_eq!(near("Ubuntu", known()), ["ubuntu-24.04"]);
        assert!(near("windows", known()).is_empty());
    }
}
