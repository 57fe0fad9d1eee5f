//! A BMC that speaks IPMI and nothing else: `ipmi_sim` of the OpenIPMI project. It has this program switch the virtual server by
//! QMP, and serves the server's serial console (Serial over LAN).

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::process::{self, Service};
use crate::redfish::qemu::Qemu;
use crate::redfish::{Machine as _, Power};

/// Who is let in.
pub const USER: &str = "admin";
/// With what.
pub const PASSWORD: &str = "secret";

/// As in `man ipmi_sim_cmd`: one controller with nothing but itself.
const MACHINE: &str = "mc_setbmc 0x20\n\
                       mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr\n\
                       sel_enable 0x20 1000 0x0a\n\
                       mc_enable 0x20\n";

/// A BMC that runs. It ends with this value.
#[derive(Debug)]
pub struct IpmiBmc {
    /// HOST:PORT.
    pub address: String,
    /// Where it has the serial console from: the server listens there.
    pub console_port: u16,
    service: Service,
}

/// The server behind it, as the program is told that switches it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Switched {
    /// Its QMP socket.
    pub socket: PathBuf,
    /// Its system disk, where it has one.
    pub disk: Option<String>,
}

impl IpmiBmc {
    /// Starts one at a free port of the loopback, its files in a folder of its own.
    pub fn start(name: &str, folder: &Path, server: &Switched) -> Result<Self> {
        let own = folder.join(format!("{name}.ipmi"));
        fs::create_dir_all(&own).context("cannot make a folder for the BMC")?;
        let (port, console_port) = (process::free_port()?, process::free_port()?);
        let told = serde_json::to_vec(server).context("cannot write down what is switched")?;
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        let settings = format!(
            "name \"{name}\"\n\
             set_working_mc 0x20\n\
             startlan 1\n\
             addr 127.0.0.1 {port}\n\
             priv_limit admin\n\
             allowed_auths_admin none md2 md5 straight\n\
             guid a123456789abcdefa123456789abcdef\n\
             endlan\n\
             chassis_control \"{} internal-chassis {}\"\n\
             sol \"tcp:127.0.0.1:{console_port}\" 115200\n\
             user 2 true \"{USER}\" \"{PASSWORD}\" admin 10 none md2 md5 straight\n",
            program.display(),
            own.display(),
        );
        fs::write(own.join("server.json"), told).context("cannot write down what is switched")?;
        let service = simulate(&own, &settings, &folder.join(format!("{name}.ipmi.log")))?;
        Ok(Self {
            address: format!("127.0.0.1:{port}"),
            console_port,
            service,
        })
    }

    /// An error when it has ended.
    pub fn expect_running(&mut self) -> Result<()> {
        self.service.expect_running()
    }
}

/// Starts `ipmi_sim` with these settings (`man ipmi_lan`), its files in a folder of its own.
pub fn simulate(own: &Path, settings: &str, log: &Path) -> Result<Service> {
    let (lan, machine, state) = (own.join("lan.conf"), own.join("machine"), own.join("state"));
    fs::create_dir_all(&state).context("cannot make a folder for the BMC")?;
    fs::write(&lan, settings).context("cannot write the BMC's settings")?;
    fs::write(&machine, MACHINE).context("cannot write the BMC's settings")?;
    let mut command = Command::new("ipmi_sim");
    command
        .arg("-c")
        .arg(lan)
        .arg("-f")
        .arg(machine)
        .arg("-s")
        .arg(state);
    Service::start("ipmi_sim", command.arg("-n").stdin(Stdio::null()), log)
}

/// What `ipmi_sim` asks for: "get NAME…", "set NAME VALUE…", after the address of the controller in the server
/// (`man ipmi_sim_cmd`).
pub fn chassis(folder: &Path, words: &[String]) -> Result<()> {
    let told = fs::read(folder.join("server.json")).context("cannot read what is switched")?;
    let server: Switched = serde_json::from_slice(&told).context("cannot read what is switched")?;
    let mut qemu = Qemu::at(server.socket, "nic0", server.disk);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.strip_prefix(&["0x20"]).unwrap_or(&words) {
        ["get", names @ ..] => {
            for name in names {
                match *name {
                    "power" => println!("power:{}", u8::from(qemu.power()? == Power::On)),
                    "boot" => println!("boot:{}", first(folder)?.unwrap_or_else(|| "default".to_owned())),
                    _ => {}
                }
            }
        }
        ["set", values @ ..] => {
            for value in values.chunks_exact(2) {
                set(&mut qemu, folder, value[0], value[1])?;
            }
        }
        other => bail!("the BMC asks for {other:?}"),
    }
    Ok(())
}

fn set(qemu: &mut Qemu, folder: &Path, name: &str, value: &str) -> Result<()> {
    match (name, value) {
        ("power", "0") => qemu.power_off(),
        ("power", _) => {
            let target = match first(folder)?.as_deref() {
                Some("pxe") => Some("Pxe"),
                _ => None,
            };
            qemu.power_on(target)?;
            keep(folder, "default")
        }
        ("shutdown", _) => qemu.shut_down(),
        ("boot", target) => keep(folder, target),
        _ => Ok(()),
    }
}

/// What is booted once.
fn first(folder: &Path) -> Result<Option<String>> {
    match fs::read_to_string(folder.join("boot")) {
        Ok(target) => Ok(Some(target).filter(|target| target != "default")),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).context("cannot read what is booted once"),
    }
}

fn keep(folder: &Path, target: &str) -> Result<()> {
    fs::write(folder.join("boot"), target).context("cannot keep what is booted once")
}
