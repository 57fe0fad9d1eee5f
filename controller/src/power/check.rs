//! What is said of a BMC, brought into one form, or what is wrong with it.

use std::fmt;

use url::Url;
use zeroize::Zeroizing;

use super::{
    BmcKind, BmcQuirks, BootTarget, ipmi,
    redfish::{certificates, parse_fingerprint},
};

const LONGEST_TEXT: usize = 500;
const LONGEST_PEM: usize = 64 << 10;

/// What an operator says of a BMC.
#[derive(Clone, PartialEq, Eq)]
pub struct NewBmc {
    /// How the server is powered.
    pub kind: BmcKind,
    /// Redfish: https://HOST[:PORT]; IPMI: HOST[:PORT]; manual: empty.
    pub address: String,
    /// Who the controller is there.
    pub user: String,
    /// `None`: the one that is kept, if kind, address and user stay as they are.
    pub password: Option<Zeroizing<String>>,
    /// Id or path of the system, when the BMC has several.
    pub system: Option<String>,
    /// SHA-256 over the one certificate that is trusted, hex.
    pub fingerprint: Option<String>,
    /// The CAs that are trusted, PEM.
    pub ca_pem: Option<String>,
    /// The address may be http://.
    pub plain_http: bool,
    /// How it boots the ramdisk; `None`: by PXE.
    pub boot: Option<BootTarget>,
    /// Its server's serial console is read by IPMI (Serial over LAN) for the logs of deployments, of whatever kind it is.
    pub serial_over_lan: bool,
    /// What people have to know who power it by hand.
    pub instructions: String,
    /// Where it differs from others.
    pub quirks: BmcQuirks,
}

impl fmt::Debug for NewBmc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NewBmc({} at {} as {})", self.kind, self.address, self.user)
    }
}

impl NewBmc {
    /// A server that is powered by hand.
    #[must_use]
    pub fn manual(instructions: impl Into<String>) -> Self {
        Self {
            kind: BmcKind::Manual,
            address: String::new(),
            user: String::new(),
            password: None,
            system: None,
            fingerprint: None,
            ca_pem: None,
            plain_http: false,
            boot: None,
            serial_over_lan: false,
            instructions: instructions.into(),
            quirks: BmcQuirks::default(),
        }
    }

    /// The same in one form; an error is the end of "the BMC cannot be like this: …".
    pub(super) fn checked(self) -> Result<Self, String> {
        let given = |text: Option<String>| {
            text.map(|text| text.trim().to_owned())
                .filter(|text| !text.is_empty())
        };
        let mut new = Self {
            address: self.address.trim().to_owned(),
            user: self.user.trim().to_owned(),
            system: given(self.system),
            fingerprint: given(self.fingerprint),
            ca_pem: given(self.ca_pem),
            instructions: self.instructions.trim().to_owned(),
            ..self
        };
        for (what, text) in [
            ("the user", &new.user),
            ("the instructions", &new.instructions),
            ("the system", new.system.as_ref().unwrap_or(&new.user)),
        ] {
            if text.len() > LONGEST_TEXT || text.chars().any(char::is_control) {
                return Err(format!("{what} is no line of at most {LONGEST_TEXT} bytes"));
            }
        }
        if new.boot == Some(BootTarget::Disk) {
            return Err("it boots the ramdisk by pxe, uefi-http or cd, and not from its disk".to_owned());
        }
        new.quirks.check()?;
        match new.kind {
            BmcKind::Redfish => new.check_redfish()?,
            BmcKind::Ipmi => new.check_ipmi()?,
            BmcKind::Manual => {
                let said = [&new.address, &new.user].into_iter().any(|text| !text.is_empty());
                let more = new.password.is_some() || new.system.is_some() || new.serial_over_lan;
                if said || more || new.has_tls() {
                    return Err("a server that is powered by hand has instructions alone".to_owned());
                }
            }
        }
        if new.kind == BmcKind::Ipmi || new.serial_over_lan {
            new.check_user_of_ipmi()?;
        }
        if new.kind != BmcKind::Manual {
            if new.user.is_empty() {
                return Err("the user is missing".to_owned());
            }
            let bad = |password: &Zeroizing<String>| {
                password.is_empty() || password.len() > LONGEST_TEXT || password.chars().any(char::is_control)
            };
            if new.password.as_ref().is_some_and(bad) {
                return Err(format!("the password is no line of at most {LONGEST_TEXT} bytes"));
            }
        }
        Ok(new)
    }

    fn has_tls(&self) -> bool {
        self.fingerprint.is_some() || self.ca_pem.is_some() || self.plain_http
    }

    fn check_redfish(&mut self) -> Result<(), String> {
        let text = if self.address.contains("://") {
            self.address.clone()
        } else {
            format!("https://{}", self.address)
        };
        let no_address = || "the address is not like https://HOST or https://HOST:PORT".to_owned();
        let url: Url = text.parse().map_err(|_| no_address())?;
        let bare = url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
            && url.path() == "/";
        let Some(host) = url.host_str().filter(|host| bare && !host.is_empty()) else {
            return Err(no_address());
        };
        match url.scheme() {
            "https" if self.plain_http => {
                return Err("plain_http is said, and the address is https://".to_owned());
            }
            "https" => {}
            "http" if self.plain_http => {}
            "http" => {
                return Err(
                    "the address is http://, where whoever is in the management network can read the password; give \
                     https://, or say that it is meant (plain_http)"
                        .to_owned(),
                );
            }
            _ => return Err(no_address()),
        }
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        self.address = format!("{}://{host}{port}", url.scheme());
        if self.user.contains(':') {
            return Err("no user of Redfish has a colon in its name".to_owned());
        }
        if self.fingerprint.is_some() && self.ca_pem.is_some() {
            return Err("a fingerprint and CAs are given; one of them is meant".to_owned());
        }
        if self.plain_http && (self.fingerprint.is_some() || self.ca_pem.is_some()) {
            return Err("http:// has no certificate that could be trusted".to_owned());
        }
        if let Some(text) = &self.fingerprint {
            let bytes = parse_fingerprint(text)
                .ok_or("the fingerprint is not the SHA-256 of a certificate: 64 hex digits")?;
            self.fingerprint = Some(hex::encode(bytes));
        }
        if let Some(pem) = &self.ca_pem {
            if pem.len() > LONGEST_PEM {
                return Err("the CAs are longer than 64 KiB".to_owned());
            }
            certificates(pem).map_err(|why| format!("the CAs cannot be read as PEM: {why}"))?;
        }
        Ok(())
    }

    fn check_ipmi(&mut self) -> Result<(), String> {
        let (host, port) = ipmi::place(&self.address).ok_or("the address is not like HOST or HOST:PORT")?;
        self.address = if host.contains(':') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        };
        if self.system.is_some() || self.has_tls() {
            return Err("system, fingerprint, CAs and plain_http are of Redfish".to_owned());
        }
        match self.boot {
            Some(BootTarget::UefiHttp) => return Err("IPMI knows no uefi-http".to_owned()),
            Some(BootTarget::Cd) => {
                return Err("IPMI puts nothing into a virtual cd; Redfish does".to_owned());
            }
            Some(BootTarget::Pxe | BootTarget::Disk) | None => {}
        }
        Ok(())
    }

    fn check_user_of_ipmi(&self) -> Result<(), String> {
        // A name that a program takes for an option.
        if self.user.starts_with('-') {
            return Err("no user of IPMI begins with a dash".to_owned());
        }
        let longest = ipmi::LONGEST_PASSWORD;
        if self
            .password
            .as_ref()
            .is_some_and(|password| password.len() > longest)
        {
            return Err(format!("IPMI has room for passwords of {longest} bytes"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redfish(address: &str) -> NewBmc {
        NewBmc {
            kind: BmcKind::Redfish,
            address: address.to_owned(),
            user: "root".to_owned(),
            password: Some(Zeroizing::new("hunter2".to_owned())),
            ..NewBmc::manual("")
        }
    }

    fn ipmi(address: &str) -> NewBmc {
        NewBmc {
            kind: BmcKind::Ipmi,
            ..redfish(address)
        }
    }

    #[test]
    fn addresses_come_into_one_form() {
        for (new, expected) in [
            (redfish("10.0.0.5"), "https://10.0.0.5"),
            (
                redfish(" https://bmc.example.net:8443/ "),
                "https://bmc.example.net:8443",
            ),
            (redfish("https://[fd00::5]"), "https://[fd00::5]"),
            (
                NewBmc {
                    plain_http: true,
                    ..redfish("http://127.0.0.1:8000")
                },
                "http://127.0.0.1:8000",
            ),
            (ipmi("10.0.0.5"), "10.0.0.5:623"),
            (ipmi("[fd00::5]:6230"), "[fd00::5]:6230"),
        ] {
            assert_eq!(new.checked().unwrap().address, expected);
        }
    }

    #[test]
    fn what_cannot_be_is_said() {
        let digits = "ab".repeat(32);
        for (new, part) in [
            (redfish(""), "address"),
            (redfish("https://root:x@10.0.0.5"), "address"),
            (redfish("https://10.0.0.5/redfish/v1"), "address"),
            (redfish("ftp://10.0.0.5"), "address"),
            (redfish("http://10.0.0.5"), "plain_http"),
            (
                NewBmc {
                    plain_http: true,
                    ..redfish("https://10.0.0.5")
                },
                "plain_http",
            ),
            (
                NewBmc {
                    user: String::new(),
                    ..redfish("10.0.0.5")
                },
                "user",
            ),
            (
                NewBmc {
                    fingerprint: Some("ab".to_owned()),
                    ..redfish("10.0.0.5")
                },
                "fingerprint",
            ),
            (
                NewBmc {
                    ca_pem: Some("none".to_owned()),
                    ..redfish("10.0.0.5")
                },
                "PEM",
            ),
            (
                NewBmc {
                    fingerprint: Some(digits.clone()),
                    ca_pem: Some("x".to_owned()),
                    ..redfish("10.0.0.5")
                },
                "one of them",
            ),
            (
                NewBmc {
                    boot: Some(BootTarget::Disk),
                    ..redfish("10.0.0.5")
                },
                "pxe, uefi-http or cd",
            ),
            (
                NewBmc {
                    boot: Some(BootTarget::Cd),
                    ..ipmi("10.0.0.5")
                },
                "virtual cd",
            ),
            (
                NewBmc {
                    fingerprint: Some(digits),
                    ..ipmi("10.0.0.5")
                },
                "of Redfish",
            ),
            (
                NewBmc {
                    boot: Some(BootTarget::UefiHttp),
                    ..ipmi("10.0.0.5")
                },
                "uefi-http",
            ),
            (
                NewBmc {
                    password: Some(Zeroizing::new("x".repeat(21))),
                    ..ipmi("10.0.0.5")
                },
                "20 bytes",
            ),
            (
                NewBmc {
                    serial_over_lan: true,
                    password: Some(Zeroizing::new("x".repeat(21))),
                    ..redfish("10.0.0.5")
                },
                "20 bytes",
            ),
            (
                NewBmc {
                    serial_over_lan: true,
                    ..NewBmc::manual("")
                },
                "by hand",
            ),
            (
                NewBmc {
                    password: Some(Zeroizing::new("a\nb".to_owned())),
                    ..redfish("10.0.0.5")
                },
                "password",
            ),
            (
                NewBmc {
                    address: "10.0.0.5".to_owned(),
                    ..NewBmc::manual("")
                },
                "by hand",
            ),
            (NewBmc::manual("x".repeat(501)), "instructions"),
        ] {
            let shown = format!("{new:?}");
            assert!(!shown.contains("hunter2"));
            let why = new.checked().unwrap_err();
            assert!(why.contains(part), "{shown}: {why}");
        }
    }

    #[test]
    fn fingerprints_come_into_one_form() {
        let new = NewBmc {
            fingerprint: Some(["AB"; 32].join(":")),
            ..redfish("10.0.0.5")
        };
        assert_eq!(new.checked().unwrap().fingerprint, Some("ab".repeat(32)));
    }
}
