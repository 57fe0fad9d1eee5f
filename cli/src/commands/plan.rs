//! What `deploy --dry-run` prints.

use std::fmt::Write as _;

use serde_json::Value;

/// The plan of one server, for people.
pub(super) fn lines(plan: &Value) -> String {
    let mut out = String::new();
    let mut line = |name: &str, text: &str| {
        writeln!(out, "  {name:<9}{text}").expect("a string takes all that is written");
    };
    let disk = &plan["disk"];
    if disk.is_null() {
        line(
            "disk",
            "not known: nobody has seen the disks of this server; the agent will choose by the rule",
        );
    } else {
        match text(plan, "disk_rule_model") {
            "" => line("rule", text(disk, "rule")),
            model => line(
                "rule",
                &format!("{} (of the hardware model {model})", text(disk, "rule")),
            ),
        }
        line("disk", text(&disk["disk"], "disk"));
        for (name, key) in [("wiped", "wiped"), ("stays", "stays")] {
            each(&disk[key], |item| line(name, item.as_str().unwrap_or_default()));
        }
        each(&disk["others"], |other| {
            let mut reasons = Vec::new();
            each(&other["reasons"], |reason| reasons.push(text(reason, "text")));
            line("not", &format!("{}: {}", text(other, "disk"), reasons.join(", ")));
        });
    }
    each(&plan["warnings"], |warning| {
        line("warning", warning.as_str().unwrap_or_default());
    });
    let head = format!(
        "{}: image {} would be deployed; nothing has been begun\n",
        text(plan, "node_name"),
        text(plan, "image_name")
    );
    head + &out
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn each<'a>(list: &'a Value, mut use_it: impl FnMut(&'a Value)) {
    for item in list.as_array().into_iter().flatten() {
        use_it(item);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_plan_says_what_goes_and_what_stays() {
        let plan = json!({
            "node_name": "web-07", "image_name": "debian-12",
            "warnings": ["The disk sda (serial A, 4.2 GB): holds data."],
            "disk": {
                "rule": "serial=A", "disk": { "disk": "sda (serial A, 4.2 GB)" },
                "wiped": ["p1 ext4 \"old\"", "the first 1.0 GB are written or zeroed"],
                "stays": ["every byte of every other disk"],
                "others": [{ "disk": "sdb (serial B, 4.2 GB)", "reasons": [
                    { "text": "has serial=B, the rule wants serial=A" }, { "text": "read-only" }] }],
            },
        });
        assert_eq!(
            lines(&plan),
            "web-07: image debian-12 would be deployed; nothing has been begun\n\
             \x20 rule     serial=A\n\
             \x20 disk     sda (serial A, 4.2 GB)\n\
             \x20 wiped    p1 ext4 \"old\"\n\
             \x20 wiped    the first 1.0 GB are written or zeroed\n\
             \x20 stays    every byte of every other disk\n\
             \x20 not      sdb (serial B, 4.2 GB): has serial=B, the rule wants serial=A, read-only\n\
             \x20 warning  The disk sda (serial A, 4.2 GB): holds data.\n"
        );
        let unknown = lines(&json!({ "node_name": "n", "image_name": "i", "disk": null }));
        assert!(unknown.contains("the agent will choose by the rule"), "{unknown}");
    }
}
