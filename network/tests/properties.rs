//! What holds for every network and for every text.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod any_network;

use any_network::any_network;
use imprint_network::{Format, check::check, read, render};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// What is written as network-config is read as the same network.
    #[test]
    fn network_config_says_all_of_the_model(network in any_network()) {
        let findings = check(&network);
        prop_assert_eq!(&findings.errors, &vec![]);
        let network = network.settled();
        for format in [Format::CloudInit, Format::Netplan] {
            let text = &render(&network, format).files[0].content;
            let again = read(text.as_bytes());
            prop_assert!(again.is_ok(), "{}\n{}", again.unwrap_err(), text);
            prop_assert_eq!(&again.unwrap().network, &network, "{}", text);
        }
    }

    /// The same network gives the same files, each once, none of them out of its place.
    #[test]
    fn rendering_is_certain(network in any_network()) {
        for format in Format::ALL {
            let rendered = render(&network, format);
            prop_assert_eq!(&rendered, &render(&network.clone(), format));
            let paths: Vec<&str> = rendered.files.iter().map(|file| file.path.as_str()).collect();
            let mut once = paths.clone();
            once.dedup();
            prop_assert_eq!(&paths, &once);
            for file in &rendered.files {
                prop_assert!(!file.path.starts_with('/') && !file.path.contains(".."), "{}", file.path);
                prop_assert!(file.content.ends_with('\n') && file.content.is_ascii());
            }
        }
    }

    /// No text makes it panic.
    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(read) = read(&bytes) {
            let _ = render(&read.network, Format::Ifupdown);
        }
    }

    /// Nor does one that is nearly right.
    #[test]
    fn nearly_right(network in any_network(), cuts in prop::collection::vec((any::<prop::sample::Index>(), 0..9_usize), 1..4)) {
        const PIECES: [&str; 9] = ["", "\n", ": ", "- ", "[", "&a ", "*a ", "\t", "\u{fe}\""];
        let mut text = render(&network, Format::CloudInit).files[0].content.clone();
        for (place, piece) in cuts {
            let mut place = place.index(text.len());
            while !text.is_char_boundary(place) {
                place -= 1;
            }
            let rest = text.split_off(place);
            text.push_str(PIECES[piece]);
            text.push_str(rest.get(1..).unwrap_or_default());
        }
        match read(text.as_bytes()) {
            Ok(read) => {
                for format in Format::ALL {
                    let _ = render(&read.network, format);
                }
            }
            Err(refused) => prop_assert!(!refused.errors.is_empty()),
        }
    }

    /// Whatever words stand in place of the values of a network_data.json, there is an answer.
    #[test]
    fn odd_network_data(words in prop::collection::vec(prop::sample::select(vec![
        "null", "0", "-1", "\"4\"", "[]", "{}", "\"a\"", "\"b\"", "\"52:54:00:00:00:01\"", "\"bond\"", "\"vlan\"",
        "\"phy\"", "\"ipv4\"", "\"ipv6_slaac\"", "\"10.0.0.5\"", "\"255.255.255.0\"", "\"::1\"", "[\"a\", 1]", "true", "1e99",
    ]), 14)) {
        let keys = ["id", "type", "ethernet_mac_address", "bond_links", "bond_mode", "vlan_id", "vlan_link", "mtu"];
        let link: Vec<String> = keys.iter().zip(&words).map(|(key, word)| format!("\"{key}\": {word}")).collect();
        let keys = ["link", "type", "ip_address", "netmask", "gateway", "routes"];
        let net: Vec<String> = keys.iter().zip(&words[8..]).map(|(key, word)| format!("\"{key}\": {word}")).collect();
        let text = format!(
            "{{\"links\": [{{{}}}, {{\"id\": \"b\", \"ethernet_mac_address\": \"52:54:00:00:00:02\"}}], \"networks\": [{{{}}}]}}",
            link.join(", "),
            net.join(", ")
        );
        if let Ok(read) = read(text.as_bytes()) {
            prop_assert!(check(&read.network).errors.is_empty());
        }
    }
}
