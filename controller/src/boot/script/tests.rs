use super::*;

fn scripts(arguments: &[&str], extra: usize) -> Result<Scripts, ScriptError> {
    let arguments: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
    Scripts::new(&Url::parse("http://10.0.0.1:8080/").unwrap(), &arguments, extra)
}

fn facts(platform: &str) -> BootFacts {
    BootFacts::parse("52:54:00:AA:00:01", "", "", platform).unwrap()
}

#[test]
fn ramdisk_script_loads_everything_and_starts_over_on_failure() {
    let script = scripts(&["imprint.debug=1", "nomodeset"], 1).unwrap().ramdisk(
        &facts("efi"),
        "abc123",
        &["console=ttyS1".to_owned(), "a||reboot".to_owned()],
        false,
        "deployment of debian-12",
    );
    let expected = "#!ipxe
echo Imprint: 52:54:00:aa:00:01 boots the ramdisk: deployment of debian-12
imgfree
kernel http://10.0.0.1:8080/ramdisk/vmlinuz initrd=initrd.img initrd=extra0.img initrd=identity.img BOOTIF=01-52-54-00-aa-00-01 console=tty0 console=ttyS0,115200 quiet panic=30 gpt imprint.debug=1 nomodeset console=ttyS1 || goto failed
initrd --name initrd.img http://10.0.0.1:8080/ramdisk/initrd.img || goto failed
initrd --name extra0.img http://10.0.0.1:8080/boot/extra/0 || goto failed
initrd --name identity.img http://10.0.0.1:8080/boot/identity/abc123 || goto failed
boot || goto failed
:failed
echo Imprint: cannot load kernel and ramdisk, starting over in 5 seconds
imgfree
sleep 5
chain --replace http://10.0.0.1:8080/boot/start.ipxe || goto failed
";
    assert_eq!(script, expected);
}

#[test]
fn a_rescue_has_one_initrd_more_and_says_so() {
    let script = scripts(&["nomodeset"], 1)
        .unwrap()
        .ramdisk(&facts("efi"), "abc123", &[], true, "a rescue");
    for part in [
        "initrd=extra0.img initrd=rescue.img initrd=identity.img BOOTIF=",
        " quiet panic=30 gpt imprint.rescue nomodeset ||",
        "\ninitrd --name rescue.img http://10.0.0.1:8080/ramdisk/rescue.img || goto failed\ninitrd --name identity.img",
    ] {
        assert!(script.contains(part), "{part}: {script}");
    }
}

#[test]
fn firmware_goes_on_to_the_disk() {
    let efi = local_disk(&facts("efi"), LocalBoot::Exit, "nothing to do");
    assert!(efi.ends_with("nothing to do\nexit 1\n"), "{efi}");
    let bios = local_disk(&facts("pcbios"), LocalBoot::Exit, "nothing to do");
    assert!(bios.ends_with("nothing to do\nexit\n"), "{bios}");
    for (platform, end) in [("efi", "exit 1\n"), ("pcbios", "exit\n")] {
        let script = local_disk(&facts(platform), LocalBoot::Sanboot, "nothing to do");
        let end = format!("nothing to do\nsanboot --no-describe --drive 0x80 ||\n{end}");
        assert!(script.ends_with(&end), "{script}");
    }
}

#[test]
fn start_script_names_what_the_controller_needs_and_ends() {
    let script = scripts(&[], 0).unwrap().start();
    assert!(script.contains(
        "chain --replace http://10.0.0.1:8080/boot/node.ipxe?mac=${netX/mac}&uuid=${uuid}&serial=${serial:uristring}&platform=${platform} || goto retry"
    ));
    assert!(script.ends_with("exit\n:local_efi\nexit 1\n"));
}

#[test]
fn a_reason_cannot_add_commands() {
    for evil in [
        "x\nboot",
        "x\r\nexit",
        "${net0/ip}",
        "a && exit",
        "a || reboot",
        "# note",
        "é\u{0}",
    ] {
        let script = local_disk(&facts("efi"), LocalBoot::Exit, evil);
        assert_eq!(script.lines().count(), 3, "{script}");
        let line = script.lines().nth(1).unwrap();
        assert!(!line.contains(['$', '{', '&', '|', '#', '\0', 'é']), "{line}");
    }
}

#[test]
fn arguments_that_ipxe_would_interpret_are_refused() {
    for bad in ["", "a b", "a\nb", "x=${uuid}", "a&&b", "||", "#x", "é"] {
        let error = scripts(&["quiet", bad], 0).unwrap_err();
        assert_eq!(
            error,
            ScriptError::KernelArgument {
                argument: bad.to_owned()
            }
        );
    }
}

#[test]
fn urls_that_ipxe_cannot_use_are_refused() {
    for bad in [
        "https://10.0.0.1/",
        "http://10.0.0.1/?a=b",
        "http://10.0.0.1/$x",
        "ftp://10.0.0.1",
    ] {
        let error = Scripts::new(&Url::parse(bad).unwrap(), &[], 0).unwrap_err();
        assert!(matches!(error, ScriptError::Url { .. }), "{bad}");
    }
}
