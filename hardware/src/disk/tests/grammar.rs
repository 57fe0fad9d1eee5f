use super::*;

fn shown(text: &str) -> String {
    rule(text).to_string()
}

#[test]
fn sizes_have_units() {
    let size = |text: &str| match rule(text).terms.remove(0) {
        Term::Condition(condition) => match condition.wanted[0] {
            Wanted::Bytes(bytes) => bytes,
            Wanted::Text(_) => panic!("{text}"),
        },
        other => panic!("{other}"),
    };
    for (rule, bytes) in [
        ("size=1", 1),
        ("size=512B", 512),
        ("size>=400GB", 400_000_000_000),
        ("size <= 1.5 TiB", 1_649_267_441_664),
        ("size!=2KiB", 2048),
        ("size<3kb", 3000),
        ("size>0.5MB", 500_000),
        ("SIZE=1MiB", 1 << 20),
        ("size=1TB", 1_000_000_000_000),
        ("sector=4096", 4096),
        ("sector=4KiB", 4096),
    ] {
        assert_eq!(size(rule), bytes, "{rule}");
    }
}

#[test]
fn rules_are_read_and_written_back() {
    for (text, canonical) in [
        (
            r#" transport=NVMe , size>=400GB,model="a, b*",serial!=S3X* "#,
            r#"transport=nvme,size>=400GB,model="a, b*",serial!=S3X*"#,
        ),
        ("model=A*|B*", "model=A*|B*"),
        ("model = A* | B* , only", "model=A*|B*,only"),
        ("serial=A|B|wwn=0x5*", "serial=A|B|wwn=0x5*"),
        (
            "(serial=A,size>1TB)|not(model=X,rotational=TRUE)|vendor=V",
            "(serial=A,size>1TB)|not(model=X,rotational=true)|vendor=V",
        ),
        ("NOT (model=A|B)", "not(model=A|B)"),
        ("not(not((serial=A)))", "not(not((serial=A)))"),
        ("smallest", "smallest"),
        ("Largest, transport=nvme", "transport=nvme,largest"),
        ("model=smallest", "model=smallest"),
        (
            "path=pci-0000:3b:00.0-nvme-1,hctl=0:2:0:0,volume=vol-7,sector=4KiB",
            "path=pci-0000:3b:00.0-nvme-1,hctl=0:2:0:0,volume=vol-7,sector=4KiB",
        ),
        (r#"model="SAMSUNG (OEM)"|"x=y""#, r#"model="SAMSUNG (OEM)"|"x=y""#),
        ("  ", ""),
    ] {
        assert_eq!(shown(text), canonical, "{text}");
        assert_eq!(shown(canonical), canonical);
        assert_eq!(rule(text).text, text.trim());
    }
    assert!(rule("").terms.is_empty());
}

#[test]
fn wrong_rules_are_refused_where_they_are_wrong() {
    for (text, position, part) in [
        (
            "name=sda",
            1,
            "the kernel's names change from boot to boot; use one of serial, wwn",
        ),
        (
            "colour=red",
            1,
            "`colour` is not something a disk is chosen by; use one of serial",
        ),
        ("serial=a,,model=b", 10, "expected one of serial"),
        ("serial=a,", 10, "expected one of serial"),
        ("serial", 7, "expected one of =, !=, <"),
        ("serial=", 8, "expected a value"),
        ("serial=a|", 10, "expected a value"),
        ("serial<5", 7, "`<` compares sizes only"),
        ("size>1GB|2GB", 9, "`>` compares with one size only"),
        ("size=large", 6, "`large` is not a size"),
        ("size=1.2.3GB", 6, "is not a size"),
        ("size=1XB", 6, "is not a size"),
        ("size=99999999999999999999TB", 6, "larger than any disk"),
        ("model=é,size=x", 14, "`x` is not a size"),
        ("rotational=no", 12, "`true` or `false`"),
        ("transport=pcie", 11, "use one of nvme, sata"),
        ("model=\"abc", 7, "closing `\"`"),
        ("model=\"abc\" size=1", 13, "expected `,`"),
        (
            "model=nvme size>1",
            16,
            "expected `,` between two conditions; a value that has `>` in it needs quotes",
        ),
        ("serial=\"\"", 8, "expected a value"),
        ("model=a*b", 7, "`*` can stand only"),
        ("path=/dev/sda", 6, "is not a path that stays"),
        ("smallest,largest", 10, "and once"),
        ("only=1", 1, "`only` stands by itself"),
        ("not(smallest)", 5, "`smallest` stands by itself"),
        ("serial=A|(largest)", 11, "`largest` stands by itself"),
        ("not(serial=A", 4, "closing `)` is missing"),
        ("(serial=A", 1, "closing `)` is missing"),
        (
            "serial=A)",
            9,
            "expected `,` between two conditions; a value that has `)`",
        ),
        ("(serial=A=", 10, "expected `,` or `)`"),
        ("not serial=A", 1, "`not` is not something"),
        ("((((((((((serial=A))))))))))", 9, "more than 8 others"),
    ] {
        let error = text.parse::<DiskRule>().unwrap_err();
        assert_eq!(error.position, position, "{text}: {error}");
        assert!(error.to_string().contains(part), "{text}: {error}");
    }
    assert!("x".repeat(2000).parse::<DiskRule>().is_err());
    assert!("(".repeat(1024).parse::<DiskRule>().is_err());
}
