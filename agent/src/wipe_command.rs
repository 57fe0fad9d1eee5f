//! `imprint-agent wipe`: the engine of a wipe by hand, for operators and tests.
//!
//! Each target is a disk or a regular file, and has to be named a second time, by its serial number or its path. Success means that
//! all of them are wiped; a certificate of each is shown in any case.

mod args;
mod show;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

pub use args::{Method, WipeArgs};
use imprint_proto::agent::v1::Disk;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};
use tokio_util::sync::CancellationToken;

use self::show::Show;
use crate::{
    inventory,
    wipe::{
        self, Job,
        device::Device,
        release::{self, Holder, ReleaseError, Tree},
    },
};

/// Why `imprint-agent wipe` failed.
#[derive(Debug, thiserror::Error)]
pub enum WipeCommandError {
    /// There is nothing at the path.
    #[error("cannot find {}", path.display())]
    Target {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Nobody has said that this one is meant.
    #[error("{} is not named with --yes-wipe", path.display())]
    NotNamed {
        /// The path.
        path: PathBuf,
        /// Its serial number; may be empty.
        serial: String,
    },
    /// A name that no target has.
    #[error("--yes-wipe {name} is neither the serial number nor the path of a target")]
    NoSuchName {
        /// The name.
        name: String,
    },
    /// Two targets are one disk.
    #[error("{} is named twice", path.display())]
    Twice {
        /// The path.
        path: PathBuf,
    },
    /// It is part of something, and nobody has said that this may be stopped.
    #[error("{} is held by {holders}", path.display())]
    HasHolders {
        /// The path.
        path: PathBuf,
        /// By what.
        holders: String,
    },
    /// What holds a disk doesn't stop.
    #[error(transparent)]
    Held(#[from] ReleaseError),
    /// The process can't listen for signals.
    #[error("cannot listen for signals")]
    Signals(#[source] io::Error),
    /// At least one disk is not wiped.
    #[error("{failed} of {all} are not wiped: {cause}")]
    NotWiped {
        /// How many.
        failed: usize,
        /// Of how many.
        all: usize,
        /// What kept the first one.
        cause: String,
        /// What to do about that.
        remedy: String,
    },
}

impl WipeCommandError {
    /// What an operator can do about it.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::Target { .. } => "check the path of the target; disks are listed by `lsblk`".to_owned(),
            Self::NotNamed { path, serial } if serial.is_empty() => {
                format!("if it is meant, add --yes-wipe {}", path.display())
            }
            Self::NotNamed { serial, .. } => format!("if it is meant, add --yes-wipe {serial}"),
            Self::NoSuchName { .. } => "check which disk is meant; nothing was wiped".to_owned(),
            Self::Twice { .. } => "name each disk once; nothing was wiped".to_owned(),
            Self::HasHolders { .. } => "add --release to have them stopped; nothing was wiped".to_owned(),
            Self::Held(error) => error.remedy().to_owned(),
            Self::Signals(_) => "report this as a fault of the agent".to_owned(),
            Self::NotWiped { remedy, .. } => remedy.clone(),
        }
    }
}

/// A disk or file that is meant.
#[derive(Debug)]
struct Meant {
    path: PathBuf,
    disk: Disk,
    is_device: bool,
}

/// Runs the command. Success means that all targets are wiped and that this is proven.
///
/// # Errors
/// See [`WipeCommandError`]; [`WipeCommandError::remedy`] says what to do.
pub async fn run(args: WipeArgs) -> Result<(), WipeCommandError> {
    let show = Show::new(args.json);
    let result = wipe(&args, &show).await;
    if let Err(error) = &result
        && !matches!(error, WipeCommandError::NotWiped { .. })
    {
        show.failed(error);
    }
    result
}

async fn wipe(args: &WipeArgs, show: &Show) -> Result<(), WipeCommandError> {
    let cancel = cancel_on_signal()?;
    let meant = meant(args)?;
    if !args.release {
        nothing_holds(&meant)?;
    }
    let mut jobs = Vec::new();
    for Meant {
        path,
        disk,
        is_device,
    } in meant
    {
        let released = if args.release && is_device {
            release::release(Path::new("/"), &disk.kernel_name)?
        } else {
            Vec::new()
        };
        let transport = disk.transport();
        jobs.push(Job {
            disk,
            policy: args.method.policy(),
            released,
            drafts: None,
            open: Box::new(move || Device::open(&path, transport)),
        });
    }
    let (progress, newest) = watch::channel(Vec::new());
    let shown = show.follow(newest);
    let certificates = wipe::wipe_all(jobs, wipe::POLL, progress, &cancel).await;
    shown.abort();
    show.certificates(&certificates);
    let failed: Vec<_> = certificates.iter().filter(|done| !done.wiped).collect();
    match failed.first() {
        None => Ok(()),
        Some(first) => Err(WipeCommandError::NotWiped {
            failed: failed.len(),
            all: certificates.len(),
            cause: first.cause.clone(),
            remedy: first.remedy.clone(),
        }),
    }
}

/// All targets, each named by serial number or path. Nothing is touched before all of them are.
fn meant(args: &WipeArgs) -> Result<Vec<Meant>, WipeCommandError> {
    let disks = inventory::disks(Path::new("/"));
    let mut meant: Vec<Meant> = Vec::new();
    let mut unused: Vec<&String> = args.yes_wipe.iter().collect();
    for path in &args.target {
        let failed = |source| WipeCommandError::Target {
            path: path.clone(),
            source,
        };
        let real = fs::canonicalize(path).map_err(failed)?;
        if meant.iter().any(|other| other.path == real) {
            return Err(WipeCommandError::Twice { path: path.clone() });
        }
        let found = find(&real, &disks).map_err(failed)?;
        let names = |name: &str| {
            let serial = &found.disk.serial;
            Path::new(name) == path || (!serial.is_empty() && name == serial)
        };
        if !args.yes_wipe.iter().any(|name| names(name)) {
            return Err(WipeCommandError::NotNamed {
                path: path.clone(),
                serial: found.disk.serial.clone(),
            });
        }
        unused.retain(|name| !names(name));
        meant.push(found);
    }
    match unused.first() {
        None => Ok(meant),
        Some(name) => Err(WipeCommandError::NoSuchName {
            name: (*name).clone(),
        }),
    }
}

/// Tells before anything is wiped which disk is mounted, or part of an array, a volume group or the like.
fn nothing_holds(meant: &[Meant]) -> Result<(), WipeCommandError> {
    let tree = Tree::below(Path::new("/"));
    for Meant { path, disk, .. } in meant.iter().filter(|one| one.is_device) {
        let holders: Vec<String> = tree
            .holders(&disk.kernel_name)?
            .iter()
            .map(Holder::title)
            .collect();
        if !holders.is_empty() {
            return Err(WipeCommandError::HasHolders {
                path: path.clone(),
                holders: holders.join(", "),
            });
        }
    }
    Ok(())
}

fn find(real: &Path, disks: &[Disk]) -> io::Result<Meant> {
    let device = real.strip_prefix("/dev").ok().and_then(Path::to_str);
    let known = disks
        .iter()
        .find(|disk| Some(disk.kernel_name.as_str()) == device);
    let disk = match known {
        Some(disk) => disk.clone(),
        // A partition, a loop device, a file: it is wiped, but not asked what it can do by itself.
        None => Disk {
            kernel_name: device.map_or_else(|| real.display().to_string(), str::to_owned),
            size_bytes: size(real)?,
            ..Disk::default()
        },
    };
    Ok(Meant {
        path: real.to_owned(),
        disk,
        is_device: device.is_some(),
    })
}

/// By its end: block devices have no length of their own.
fn size(path: &Path) -> io::Result<u64> {
    io::Seek::seek(&mut fs::File::open(path)?, io::SeekFrom::End(0))
}

fn cancel_on_signal() -> Result<CancellationToken, WipeCommandError> {
    let cancel = CancellationToken::new();
    let mut interrupt = signal(SignalKind::interrupt()).map_err(WipeCommandError::Signals)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(WipeCommandError::Signals)?;
    let asked = cancel.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        asked.cancel();
    });
    Ok(cancel)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(targets: &[&Path], names: &[&str], method: Method) -> WipeArgs {
        WipeArgs {
            target: targets.iter().map(|path| path.to_path_buf()).collect(),
            method,
            yes_wipe: names.iter().map(|name| (*name).to_owned()).collect(),
            release: true,
            json: false,
        }
    }

    #[tokio::test]
    async fn files_are_wiped_side_by_side_once_each_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["a.img", "b.img"].map(|name| folder.path().join(name));
        for path in &paths {
            fs::write(path, vec![0xA5; 5 << 20]).unwrap();
        }
        let (a, b) = (paths[0].as_path(), paths[1].as_path());
        let names = [a.to_str().unwrap(), b.to_str().unwrap()];
        let is_clear = |path: &Path| fs::read(path).unwrap().iter().all(|byte| *byte == 0);
        let refused = run(args(&[a, b], &names[..1], Method::Auto)).await.unwrap_err();
        assert!(
            matches!(&refused, WipeCommandError::NotNamed { path, .. } if path == b),
            "{refused}"
        );
        assert!(refused.remedy().contains(names[1]));
        let refused = run(args(&[a], &[names[0], "S1"], Method::Auto))
            .await
            .unwrap_err();
        assert!(
            matches!(refused, WipeCommandError::NoSuchName { .. }),
            "{refused}"
        );
        let refused = run(args(&[a, a], &names[..1], Method::Auto)).await.unwrap_err();
        assert!(matches!(refused, WipeCommandError::Twice { .. }), "{refused}");
        assert!(!is_clear(a) && !is_clear(b), "nothing was touched by a refusal");
        run(args(&[a, b], &names, Method::Discard)).await.unwrap();
        assert!(is_clear(a) && is_clear(b));
    }

    #[tokio::test]
    async fn what_cannot_be_wiped_is_a_failure() {
        let error = run(args(&[Path::new("/nowhere")], &["/nowhere"], Method::Auto))
            .await
            .unwrap_err();
        assert!(matches!(error, WipeCommandError::Target { .. }), "{error}");
        let error = run(args(&[Path::new("/dev/null")], &["/dev/null"], Method::Quick))
            .await
            .unwrap_err();
        assert!(error.to_string().contains("1 of 1 are not wiped"), "{error}");
        assert!(!error.remedy().is_empty());
    }

    #[test]
    fn a_certificate_is_whole_as_json() {
        use imprint_proto::agent::v1::{WipeExpectation, WipeMethod, WipePassedOver, WipeSamples};
        let certificate = imprint_proto::agent::v1::WipeCertificate {
            disk: Some(Disk {
                serial: "S1".to_owned(),
                ..Disk::default()
            }),
            policy: args::Method::Auto.policy().into(),
            method: WipeMethod::NvmeFormat.into(),
            wiped: true,
            passed_over: vec![WipePassedOver {
                method: WipeMethod::NvmeSanitizeBlock.into(),
                reason: "no".to_owned(),
            }],
            started_at: Some(prost_types::Timestamp::default()),
            samples: Some(WipeSamples {
                seed: vec![7; 32],
                expected: WipeExpectation::Changed.into(),
                ..WipeSamples::default()
            }),
            ..Default::default()
        };
        let json = show::to_json(&certificate);
        assert_eq!(json["method"], "nvme-format");
        assert_eq!(json["policy"], "auto");
        assert_eq!(json["disk"]["serial"], "S1");
        assert_eq!(json["passed_over"][0]["method"], "nvme-sanitize-block");
        assert_eq!(json["started_at"], "1970-01-01T00:00:00Z");
        assert_eq!(json["samples"]["expected"], "changed");
        assert_eq!(json["samples"]["wrong_at_bytes"], serde_json::Value::Null);
    }
}
