//! Models and matching.

use comfy_table::Table;
use serde_json::Value;

use super::{Facts, columns, or_dash, plain};
use crate::output;

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// All models.
pub fn models(models: &[Value]) -> Table {
    let mut table = columns(&["NAME", "VERSION", "ORIGIN", "DESCRIPTION"]);
    for model in models {
        table.add_row([
            plain(text(model, "name")),
            model["version"].to_string(),
            plain(text(model, "origin")),
            plain(text(model, "description")),
        ]);
    }
    table
}

fn counts(counts: &Value) -> String {
    format!(
        "{} fit, {} unverified, {} refused",
        counts["fits"], counts["unverified"], counts["refused"]
    )
}

/// The images of a server, and below each that does not fit why.
pub fn of_node(answer: &Value) -> String {
    let mut told = format!(
        "{}: {}, model {}\n",
        plain(text(answer, "node")),
        or_dash(answer["hardware"].as_str()),
        or_dash(answer["model"].as_str())
    );
    told.push_str(&format!("images: {}\n", counts(&answer["counts"])));
    told.push_str(&match answer["chosen"].as_str() {
        Some(image) => format!("a deployment takes {}\n\n", plain(image)),
        None => "no image fits\n\n".to_owned(),
    });
    let mut table = columns(&["#", "IMAGE", "VERSION", "VISIBILITY", "PRICE", "VERDICT", "WHY"]);
    for item in list(answer, "items") {
        table.add_row([
            item["rank"].to_string(),
            plain(text(item, "image")),
            or_dash(item["version"].as_str()),
            plain(text(item, "visibility")),
            or_dash(item["price"].as_str()),
            plain(text(item, "verdict")),
            codes(item),
        ]);
    }
    told.push_str(&output::render(&mut table));
    for item in list(answer, "items") {
        told.push_str(&reasons(text(item, "image"), item));
    }
    if answer["more"] == true {
        told.push_str("there are more; --output json with `limit` of the API has up to 1,000\n");
    }
    told
}

fn codes(item: &Value) -> String {
    let codes: Vec<String> = list(item, "reasons")
        .iter()
        .map(|reason| plain(text(reason, "code")))
        .collect();
    or_dash(Some(codes.join(", ").as_str()))
}

fn reasons(title: &str, item: &Value) -> String {
    let mut told = String::new();
    for reason in list(item, "reasons") {
        if told.is_empty() {
            told = format!("\n{}:\n", plain(title));
        }
        told.push_str(&format!(
            "  {}: {}\n",
            plain(text(reason, "code")),
            plain(text(reason, "text"))
        ));
        let facts: Vec<&str> = [text(reason, "image_fact"), text(reason, "node_fact")]
            .into_iter()
            .filter(|f| !f.is_empty())
            .collect();
        if !facts.is_empty() {
            told.push_str(&format!("    facts: {}\n", plain(&facts.join(" | "))));
        }
        told.push_str(&format!("    remedy: {}\n", plain(text(reason, "remedy"))));
    }
    told
}

/// An image over the fleet.
pub fn of_image(answer: &Value) -> String {
    let mut told = format!(
        "{}: {}\n\n",
        plain(text(answer, "image")),
        counts(&answer["counts"])
    );
    let mut matrix = columns(&["MODEL", "FITS", "UNVERIFIED", "REFUSED"]);
    for row in list(answer, "by_model") {
        let counts = &row["counts"];
        matrix.add_row([
            or_dash(row["model"].as_str()),
            counts["fits"].to_string(),
            counts["unverified"].to_string(),
            counts["refused"].to_string(),
        ]);
    }
    told.push_str(&output::render(&mut matrix));
    let mut table = columns(&["NODE", "MODEL", "VERDICT", "WHY"]);
    for item in list(answer, "items") {
        table.add_row([
            plain(text(item, "node")),
            or_dash(item["model"].as_str()),
            plain(text(item, "verdict")),
            codes(item),
        ]);
    }
    told.push('\n');
    told.push_str(&output::render(&mut table));
    if answer["next_page_token"].is_string() {
        told.push_str("there are more servers; --all shows them\n");
    }
    told
}

/// Why the image of a deployment was thought to fit.
pub fn add_fit(facts: &mut Facts, fit: Option<&Value>) {
    let Some(fit) = fit else { return };
    let said: Vec<String> = list(fit, "reasons")
        .iter()
        .chain(list(fit, "notes"))
        .map(|reason| {
            format!(
                "{} ({})",
                plain(text(reason, "text")),
                plain(text(reason, "code"))
            )
        })
        .collect();
    let verdict = match text(fit, "verdict") {
        "fits" => "it fits",
        "unverified" => "unverified, allowed by whoever asked",
        other => other,
    };
    let mut line = plain(verdict);
    if !said.is_empty() {
        line.push_str(&format!("; {}", said.join(" ")));
    }
    facts.add("image", line);
}
