use std::io::Write as _;

use super::*;

fn faults(text: &str) -> Vec<String> {
    look(text.as_bytes()).faults
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    writer.write_all(data).unwrap();
    writer.finish().unwrap()
}

fn message(parts: &[(&str, &str)]) -> String {
    let mut text = "Content-Type: multipart/mixed; boundary=\"==b==\"\nMIME-Version: 1.0\n\n".to_owned();
    for (kind, body) in parts {
        text.push_str(&format!("--==b==\nContent-Type: {kind}\n\n{body}\n"));
    }
    text + "--==b==--\n"
}

#[test]
fn what_cloud_init_reads_is_taken() {
    let large = format!("#!/bin/sh\n{}", "#".repeat(MAX_USER_DATA - 10));
    let several = message(&[
        ("text/cloud-config", "#cloud-config\npackages: [nginx]"),
        ("text/x-shellscript; charset=\"us-ascii\"", "#!/bin/sh\ntrue"),
        ("text/plain", "#include\nhttps://example.org/a"),
        ("text/cloud-boothook", "#!/bin/sh\ntrue"),
        (
            "text/jinja2",
            "## template: jinja\n#cloud-config\nhostname: {{ v1.x }}",
        ),
    ]);
    for good in [
        "",
        "#cloud-config\nusers:\n  - name: a\n",
        "\n #cloud-config\nhostname: a\n",
        "#!/bin/sh\necho : [\n",
        "#include\nhttps://example.org/x\n# no address\n",
        "#include https://example.org/x\n",
        "#include-once\nhttps://example.org/x\n",
        "#cloud-boothook\n#!/bin/sh\ntrue\n",
        "#part-handler\ndef list_types(): pass\n",
        "## template: jinja\n#cloud-config\nx: {{ y }}\n",
        "## template: jinja\n{% if a %}\n#cloud-config\n{% endif %}\n",
        "#cloud-config-archive\n- type: text/cloud-config\n  content: |\n    hostname: a\n- |\n  #!/bin/sh\n  true\n",
        "#cloud-config-jsonp\n- {op: add, path: /runcmd, value: [ls]}\n",
        "#cloud-config\na: &x {b: 1}\n<<: *x\nruncmd: [ls, [a, b]]\n",
        "#cloud-config\npackage_update: yes\nntp:\nssh_pwauth: 'no'\n",
        large.as_str(),
        several.as_str(),
    ] {
        assert_eq!(faults(good), [""; 0], "{good}");
        assert_eq!(look(&gzip(good.as_bytes())).faults, [""; 0], "the same, packed");
    }
}

#[test]
fn what_it_would_drop_is_refused_with_the_line() {
    let large = format!("#!/bin/sh\n{}", "#".repeat(MAX_USER_DATA));
    let rows = [
        ("users: []\n", "line 1 does not say"),
        ("\u{feff}#cloud-config\na: 1\n", "line 1 does not say"),
        ("#cloud-config\n- a\n", "not a mapping"),
        ("#cloud-config\n", "says nothing"),
        ("#cloud-config\nusers:\n  - name: [a\nb: c\n", "line 4"),
        ("#cloud-config\na: 1\n\tb: 2\n", "line 3"),
        ("#cloud-config\na: 1\nb:\n  c: 1\n  c: 2\n", "duplicate"),
        (
            "Content-Type: multipart/mixed; boundary=\"x\"\n\n--x\n",
            "`MIME-Version: 1.0`",
        ),
        (
            "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=x\n\nnothing\n",
            "has no part",
        ),
        (
            "#include\nhttps://example.org/a\nnowhere\n",
            "line 3: `nowhere` is not an address",
        ),
        ("#cloud-config-archive\na: b\n", "not a list"),
        (
            "#cloud-config-archive\n- type: text/cloud-config\n  content: 'users: 7'\n",
            "entry 1, line 1: `users`",
        ),
        ("#cloud-config-jsonp\na: b\n", "not a list of operations"),
        ("## template: jinja\nhello\n", "line 2 of the template"),
        (large.as_str(), "65546 bytes"),
    ];
    for (bad, part) in rows {
        let faults = faults(bad);
        assert_eq!(faults.len(), 1, "{bad}: {faults:?}");
        assert!(faults[0].contains(part), "{faults:?} should contain {part}");
    }
    assert!(look(&[0xff, 0xfe]).faults[0].contains("neither UTF-8"));
    assert!(look(&[0x1f, 0x8b, 8, 0, 255]).faults[0].contains("cannot be unpacked"));
    let bomb = gzip(&vec![b'#'; 2 << 20]);
    assert!(look(&bomb).faults[0].contains("more than 1048576 bytes"));
}

#[test]
fn keys_have_their_types_and_the_unknown_is_a_warning() {
    let text = "#cloud-config\nhostname: 7\npakages: [a]\npackage_update: later\nruncmd: ls\nwrite_files:\n  - path: /a\n  - content: x\n\
        users:\n  - default\n  - 5\nmounts: [a]\nbootcmd:\ntimezone: &t Europe/Rome\nlocale: *t\nfinal_message: no\n1: a\n";
    let found = look(text.as_bytes());
    let expected = [
        "line 2: `hostname` is a number, and cloud-init takes a text; put it in quotes",
        "line 4: `package_update` is a text, and cloud-init takes true or false",
        "line 5: `runcmd` is a text, and cloud-init takes a list",
        "line 8: an entry of `write_files` has no `path`",
        "line 11: an entry of `users` is a number, and cloud-init takes a text, or a list, or a mapping; put it in quotes",
        "line 12: an entry of `mounts` is a text, and cloud-init takes a list",
        "line 16: `final_message` is true or false, and cloud-init takes a text; put it in quotes",
        "line 17: a key is a number, not a text",
    ];
    assert_eq!(found.faults, expected);
    let expected = [
        "line 3: `pakages` is not a key that cloud-init knows (`packages` is one); it is ignored",
        "line 13: `bootcmd` has no value; it does nothing",
    ];
    assert_eq!(found.warnings, expected);
}

#[test]
fn parts_are_named_with_their_own_lines() {
    let text = message(&[
        ("text/x-shellscript", "echo hello"),
        (
            "text/cloud-config\nContent-Disposition: attachment; filename=\"b.cfg\"",
            "#cloud-config\nusers: 7",
        ),
        ("text/x-shellscript", "#cloud-config\nruncmd: 7"),
        ("image/png", "x"),
        ("text/plain", "hello"),
    ]);
    let found = look(text.as_bytes());
    let expected = [
        "part 1, line 1: a script begins with `#!` and its interpreter",
        "part 2 (b.cfg), line 2: `users` is a number, and cloud-init takes a text, or a list, or a mapping; put it in quotes",
        "part 3, line 2: `runcmd` is a number, and cloud-init takes a list",
    ];
    assert_eq!(found.faults, expected);
    assert_eq!(found.warnings.len(), 2, "{:?}", found.warnings);
    assert!(found.warnings[1].contains("`text/plain`"), "{:?}", found.warnings);
    let packed = base64(&gzip(b"#cloud-config\nhostname: 7\n"));
    let text = message(&[("application/gzip\nContent-Transfer-Encoding: base64", &packed)]);
    assert!(
        faults(&text)[0].starts_with("part 1, line 2: `hostname`"),
        "{:?}",
        faults(&text)
    );
}

fn base64(data: &[u8]) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    STANDARD.encode(data)
}

#[test]
fn the_keys_are_in_order_and_once_each() {
    let names: Vec<&str> = keys::KEYS.iter().map(|key| key.name).collect();
    assert!(names.windows(2).all(|pair| pair[0] < pair[1]), "{names:?}");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(128))]

    /// Nothing panics, and what is told is bounded.
    #[test]
    fn whatever_is_given_gets_an_answer(
        head in proptest::sample::select(vec!["", "#cloud-config\n", "#include\n", "MIME-Version: 1.0\n", "#cloud-config-archive\n- "]),
        body in "[ -~\\n\\t\u{e9}]{0,200}",
    ) {
        let found = look(format!("{head}{body}").as_bytes());
        proptest::prop_assert!(found.faults.len() + found.warnings.len() <= 2 * MAX_TOLD);
    }
}
