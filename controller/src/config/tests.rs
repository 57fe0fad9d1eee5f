use super::*;

fn host() -> Host {
    let interface = |name: &str, address: [u8; 4], loopback| HostInterface {
        name: name.to_owned(),
        address: address.into(),
        netmask: [255, 255, 255, 0].into(),
        loopback,
    };
    Host {
        interfaces: vec![
            interface("lo", [127, 0, 0, 1], true),
            interface("eth0", [10, 0, 0, 1], false),
        ],
    }
}

fn two_interfaces() -> Host {
    let mut host = host();
    host.interfaces.push(HostInterface {
        name: "eth1".into(),
        address: [10, 1, 0, 1].into(),
        netmask: [255, 255, 0, 0].into(),
        loopback: false,
    });
    host
}

fn parse(text: &str) -> Result<Config, ConfigErrors> {
    Config::parse(text, "test", &Overrides::default(), &host())
}

#[test]
fn an_empty_file_has_every_default_and_derives_addresses() {
    let config = parse("").unwrap();
    assert_eq!(config.public_url.as_str(), "https://10.0.0.1:8443/");
    assert_eq!(config.boot.public_url.as_str(), "http://10.0.0.1:8080/");
    assert_eq!(config.data_dir.to_str(), Some("/var/lib/imprint"));
    assert_eq!(config.boot.tftp_listen.unwrap().port(), 69);
    assert_eq!(
        (config.dhcp.mode, config.dhcp.interface.as_str()),
        (DhcpMode::Proxy, "eth0")
    );
    assert_eq!(
        (config.dhcp.server_address, config.boot.unknown),
        ([10, 0, 0, 1].into(), UnknownPolicy::Discover)
    );
    assert_eq!(config.timeouts, TimeoutConfig::default());
    for name in ["localhost", "127.0.0.1", "10.0.0.1"] {
        assert!(config.server_names().contains(&name.to_owned()), "{name}");
    }
}

#[test]
fn everything_that_can_be_said_is_understood() {
    let text = r#"
        listen = "10.1.0.1:9443"
        public_url = "https://imprint.example.net"
        data_dir = "/srv/imprint"
        [boot]
        listen = "10.1.0.1:80"
        public_url = "http://10.1.0.1"
        ramdisk_dir = "/srv/ramdisk"
        ipxe_dir = "/srv/ipxe"
        uefi_loader = "shim"
        grub_file = "/srv/grub.efi"
        extra_initrds = ["/srv/firmware.img"]
        kernel_args = ["console=ttyS0,115200", "nomodeset"]
        unknown = "ignore"
        tftp_listen = "off"
        [dhcp]
        mode = "own"
        interface = "eth1"
        server_address = "10.1.0.1"
        range = "10.1.0.100-10.1.9.200"
        netmask = "255.255.0.0"
        router = "10.1.0.254"
        dns = ["10.1.0.53", "10.1.0.54"]
        lease_seconds = 600
        [timeouts]
        boot_seconds = 60
        step_progress_seconds = 61
        first_boot_seconds = 62
        agent_silence_seconds = 63
        boot_token_seconds = 64
        [store]
        url = "s3://images.example/imprint/eu/"
        endpoint = "https://s3.example.net:9000"
        region = "eu-central-1"
        path_style = false
        credentials_file = "/etc/imprint/s3.toml"
        ca_file = "/etc/imprint/s3-ca.pem"
        retry_seconds = 30
        gc_interval_seconds = 600
        gc_grace_seconds = 700
    "#;
    let config = Config::parse(text, "test", &Overrides::default(), &two_interfaces()).unwrap();
    assert_eq!(config.public_url.as_str(), "https://imprint.example.net/");
    assert_eq!(config.boot.kernel_args, ["console=ttyS0,115200", "nomodeset"]);
    assert_eq!(
        (config.boot.tftp_listen, config.boot.unknown),
        (None, UnknownPolicy::Ignore)
    );
    let shim = "/usr/lib/shim/shimx64.efi.signed".into();
    let grub = "/srv/grub.efi".into();
    assert_eq!(config.boot.uefi_loader, UefiLoader::Shim { shim, grub });
    assert_eq!(
        config.dhcp.range,
        Some(([10, 1, 0, 100].into(), [10, 1, 9, 200].into()))
    );
    assert_eq!((config.dhcp.dns.len(), config.dhcp.lease_seconds), (2, 600));
    assert_eq!(
        (config.timeouts.boot_seconds, config.timeouts.boot_token_seconds),
        (60, 64)
    );
    let bucket = config.store.bucket.unwrap();
    assert_eq!(bucket.url.to_string(), "s3://images.example/imprint/eu");
    assert_eq!(bucket.endpoint.unwrap().as_str(), "https://s3.example.net:9000/");
    assert_eq!(
        (bucket.region.as_str(), bucket.path_style),
        ("eu-central-1", false)
    );
    assert_eq!(bucket.retry.as_secs(), 30);
    assert_eq!(
        (
            config.store.gc_interval.as_secs(),
            config.store.gc_grace.as_secs()
        ),
        (600, 700)
    );
}

#[test]
fn images_are_kept_in_the_data_folder_unless_a_bucket_is_named() {
    assert_eq!(parse("").unwrap().store, StoreConfig::default());
    let bucket = |text: &str| parse(text).unwrap().store.bucket.unwrap();
    let amazon = bucket("[store]\nurl = \"s3://images\"");
    assert!(!amazon.path_style && amazon.endpoint.is_none() && amazon.url.prefix.is_empty());
    assert!(bucket("[store]\nurl = \"s3://images\"\nendpoint = \"http://10.0.0.9:9000\"").path_style);
}

#[test]
fn flags_win_over_the_file() {
    let overrides = Overrides {
        data_dir: Some("/tmp/x".into()),
        listen: Some("192.0.2.1:1".parse().unwrap()),
    };
    let text = "data_dir = \"/srv\"\nlisten = \"0.0.0.0:9\"\n[dhcp]\nmode = \"off\"";
    let config = Config::parse(text, "test", &overrides, &host()).unwrap();
    assert_eq!((config.data_dir, config.listen.port()), ("/tmp/x".into(), 1));
    assert_eq!(config.public_url.as_str(), "https://192.0.2.1:1/");
}

/// Each text has one fault: the key that is named, and a word of what is said.
#[test]
fn each_fault_names_its_key_and_a_remedy() {
    for (text, key, says) in [
        ("listn = \"0.0.0.0:1\"", "listn", "Did you mean `listen`?"),
        ("colour = 1", "colour", "Known here: listen,"),
        ("[dhcp]\nmod = \"off\"", "dhcp.mod", "Did you mean `mode`?"),
        (
            "[timeout]\nboot_seconds = 1",
            "timeout",
            "Did you mean `timeouts`?",
        ),
        ("listen = 8443", "listen", "is a number, not a string"),
        ("listen = \"8443\"", "listen", "0.0.0.0:8443"),
        ("boot = 1", "boot", "[boot]"),
        ("[store]\nurl = \"/srv\"", "store.url", "s3://bucket/prefix"),
        ("[store]\nurl = \"s3://A/b\"", "store.url", "lower-case"),
        ("[store]\nurl = \"s3://abc/../b\"", "store.url", "prefix"),
        ("[store]\nregion = \"eu\"", "store.url", "is not set"),
        (
            "[store]\nurl = \"s3://abc\"\npath_style = 1",
            "store.path_style",
            "true or false",
        ),
        (
            "[store]\nurl = \"s3://abc\"\nendpoint = \"ftp://a\"",
            "store.endpoint",
            "https://",
        ),
        (
            "[store]\nurl = \"s3://abc\"\nretry_seconds = 301",
            "store.retry_seconds",
            "1 to 300",
        ),
        ("data_dir = \"data\"", "data_dir", "does not begin with /"),
        (
            "public_url = \"http://a\"",
            "public_url",
            "does not begin with https://",
        ),
        ("public_url = \"https://a:b@c\"", "public_url", "password"),
        (
            "public_url = \"https://a/b\"",
            "public_url",
            "more than scheme, host and port",
        ),
        (
            "[boot]\npublic_url = \"https://a\"",
            "boot.public_url",
            "does not begin with http://",
        ),
        (
            "[boot]\nkernel_args = [\"a b\"]",
            "boot.kernel_args",
            "characters other than",
        ),
        (
            "[boot]\nkernel_args = \"quiet\"",
            "boot.kernel_args",
            "not a list",
        ),
        (
            "[boot]\nunknown = \"maybe\"",
            "boot.unknown",
            "\"discover\" or \"ignore\"",
        ),
        (
            "[boot]\nextra_initrds = [\"x\"]",
            "boot.extra_initrds",
            "does not begin with /",
        ),
        (
            "[dhcp]\nmode = \"on\"",
            "dhcp.mode",
            "\"proxy\", \"own\" or \"off\"",
        ),
        ("[dhcp]\nmode = \"own\"", "dhcp.range", "gives out addresses"),
        ("[dhcp]\nrange = \"10.0.0.9\"", "dhcp.range", "first and a last"),
        (
            "[dhcp]\nrange = \"10.0.0.9-10.0.0.8\"",
            "dhcp.range",
            "is after the last",
        ),
        (
            "[dhcp]\nrange = \"10.9.0.8-10.9.0.9\"",
            "dhcp.range",
            "not in the network of 10.0.0.1",
        ),
        (
            "[dhcp]\nrange = \"10.0.0.0-10.0.0.9\"",
            "dhcp.range",
            "own address 10.0.0.1",
        ),
        (
            "[dhcp]\nnetmask = \"255.0.255.0\"",
            "dhcp.netmask",
            "is no netmask",
        ),
        (
            "[dhcp]\ninterface = \"eth7\"",
            "dhcp.interface",
            "eth0 (10.0.0.1)",
        ),
        (
            "[dhcp]\nserver_address = \"10.3.0.1\"",
            "dhcp.interface",
            "no interface has the address 10.3.0.1",
        ),
        (
            "[dhcp]\nlease_seconds = 0",
            "dhcp.lease_seconds",
            "is 0, not a whole number",
        ),
        ("[timeouts]\nboot_seconds = -1", "timeouts.boot_seconds", "is -1"),
        (
            "[timeouts]\nboot_seconds = \"1h\"",
            "timeouts.boot_seconds",
            "without quotes",
        ),
        ("listen = ", "the file", "is no TOML"),
    ] {
        let errors = parse(text).expect_err(text);
        assert_eq!(errors.problems.len(), 1, "{text}: {errors}");
        let problem = &errors.problems[0];
        assert_eq!(problem.key, key, "{text}");
        assert!(
            !problem.remedy.is_empty() && errors.to_string().contains(says),
            "{text}: {errors}"
        );
    }
}

#[test]
fn all_faults_are_told_at_once() {
    let text = "colour = 1\nlisten = 1\n[boot]\nunknown = \"x\"\n[dhcp]\nmode = \"own\"\n[timeouts]\nboot_seconds = 0";
    let errors = parse(text).unwrap_err();
    let keys: Vec<_> = errors.problems.iter().map(|p| p.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "listen",
            "colour",
            "boot.unknown",
            "timeouts.boot_seconds",
            "dhcp.range"
        ]
    );
    assert!(
        errors
            .to_string()
            .starts_with("5 faults in the configuration (test)\n  listen: "),
        "{errors}"
    );
}

#[test]
fn what_cannot_be_derived_is_asked_for_with_what_there_is() {
    let parse = |text| Config::parse(text, "test", &Overrides::default(), &two_interfaces());
    let errors = parse("[dhcp]\nmode = \"off\"").unwrap_err();
    let keys: Vec<_> = errors.problems.iter().map(|p| p.key.as_str()).collect();
    assert_eq!(keys, ["public_url", "boot.public_url"]);
    assert!(
        errors.to_string().contains("eth0 (10.0.0.1), eth1 (10.1.0.1)"),
        "{errors}"
    );

    let config = parse("[dhcp]\ninterface = \"eth1\"").unwrap();
    assert_eq!(config.public_url.as_str(), "https://10.1.0.1:8443/");
    assert_eq!(config.dhcp.netmask, Ipv4Addr::new(255, 255, 0, 0));
    let config = parse("listen = \"10.1.0.1:8443\"").unwrap();
    assert_eq!(
        (config.dhcp.interface.as_str(), config.boot.public_url.as_str()),
        ("eth1", "http://10.1.0.1:8080/")
    );
}

#[test]
fn a_password_in_the_url_of_the_store_is_not_repeated() {
    let error =
        parse("[store]\nurl = \"s3://abc\"\nendpoint = \"https://key:hunter2@s3.example.net\"").unwrap_err();
    assert!(error.to_string().contains("store.endpoint") && !error.to_string().contains("hunter2"));
}

#[test]
fn a_back_end_of_volumes_is_there_when_it_is_asked_for() {
    assert_eq!(parse("").unwrap().volumes, None);
    let said = parse("data_dir = \"/srv/imprint\"\n[volumes]\nlisten = \"10.0.9.1:10809\"").unwrap();
    let volumes = said.volumes.unwrap();
    assert_eq!(volumes.folder.to_str(), Some("/srv/imprint/volumes"));
    assert_eq!(volumes.listen, "10.0.9.1:10809".parse().unwrap());
    let said = parse("[volumes]\nlisten = \"[2001:db8::1]:10809\"\nfolder = \"/srv/volumes\"").unwrap();
    assert_eq!(said.volumes.unwrap().folder.to_str(), Some("/srv/volumes"));
    for (text, key) in [
        ("[volumes]", "volumes.listen"),
        ("[volumes]\nlisten = \"10.0.9.1\"", "volumes.listen"),
        ("[volumes]\nlisten = \"10.0.9.1:0\"", "volumes.listen"),
        ("[volumes]\nlisten = \"0.0.0.0:10809\"", "volumes.listen"),
        (
            "[volumes]\nlisten = \"10.0.9.1:10809\"\nfolder = \"volumes\"",
            "volumes.folder",
        ),
        ("[volumes]\nlisten = \"10.0.9.1:10809\"\nport = 1", "volumes.port"),
        ("volumes = 1", "volumes"),
    ] {
        let errors = parse(text).unwrap_err();
        let keys: Vec<&str> = errors
            .problems
            .iter()
            .map(|problem| problem.key.as_str())
            .collect();
        assert_eq!(keys, [key], "{text}: {errors}");
    }
}
