//! An image becomes a file: written beside its name, taken up again when it broke off, proven, then moved to its name.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use indicatif::ProgressBar;
use reqwest::{
    Response, StatusCode,
    header::{CONTENT_LENGTH, ETAG, HeaderMap, IF_RANGE, RANGE},
};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::{
    client::Client,
    fault::Fault,
    live,
    output::{self, Output},
};

/// Blocks of zeros of this length become holes.
const BLOCK: usize = 64 << 10;
const RETRIES: u32 = 8;
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// What is wanted.
#[derive(Debug)]
pub struct Wanted {
    pub image: String,
    pub disk: Option<String>,
    pub format: String,
    pub file: PathBuf,
    pub overwrite: bool,
}

/// The format that files of this name have.
pub fn format_of(file: &Path) -> &'static str {
    let name = file
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .to_ascii_lowercase();
    [
        (".zst", "raw.zst"),
        (".qcow2", "qcow2"),
        (".vmdk", "vmdk"),
        (".vhd", "vhd"),
    ]
    .into_iter()
    .find(|(ending, _)| name.ends_with(ending))
    .map_or("raw", |(_, format)| format)
}

impl Wanted {
    fn query(&self) -> Vec<(&str, &str)> {
        let mut query = vec![("format", self.format.as_str())];
        if let Some(disk) = &self.disk {
            query.push(("disk", disk));
        }
        query
    }

    fn path(&self) -> [&str; 4] {
        ["v1", "images", self.image.as_str(), "content"]
    }

    fn beside(&self, ending: &str) -> PathBuf {
        let mut name = OsString::from(self.file.as_os_str());
        name.push(ending);
        name.into()
    }
}

/// Fetches the file. What it gives is what the controller knows of it.
pub async fn run(client: &Client, wanted: &Wanted, output: &Output) -> Result<Value, Fault> {
    if wanted.file.exists() && !wanted.overwrite {
        return Err(Fault::local(
            format!("{} exists already", wanted.file.display()),
            "it would be replaced",
            "Choose another name, or allow it: --overwrite.",
        ));
    }
    let head = client.head(&wanted.path(), &wanted.query()).await?;
    let etag = head
        .get(ETAG)
        .and_then(|tag| tag.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    let length = number(&head);
    let mut part = Part::open(wanted, &etag, length.is_some())?;
    let bar = live::transfer(output.live, &wanted.image, length);
    bar.set_position(part.position);
    let fetched = tokio::select! {
        fetched = fetch(client, wanted, &etag, &mut part, &bar) => fetched,
        _ = tokio::signal::ctrl_c() => Err(Fault::Interrupted),
    };
    bar.finish_and_clear();
    let kept = part.keep();
    fetched?;
    kept?;
    let [v1, images, image, content] = wanted.path();
    let sum = client
        .patient_get(&[v1, images, image, content, "sum"], &wanted.query())
        .await?;
    part.prove(wanted, &sum)?;
    Ok(sum)
}

fn number(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Fetches all that is missing, again and again while that gets on.
async fn fetch(
    client: &Client,
    wanted: &Wanted,
    etag: &str,
    part: &mut Part,
    bar: &ProgressBar,
) -> Result<(), Fault> {
    let (mut failures, mut wait) = (0, FIRST_WAIT);
    loop {
        let before = part.position;
        match attempt(client, wanted, etag, part, bar).await {
            Ok(()) => return Ok(()),
            Err(fault) if !fault.is_transient() => return Err(fault),
            Err(fault) => {
                if part.position > before {
                    (failures, wait) = (0, FIRST_WAIT);
                }
                failures += 1;
                if failures > RETRIES {
                    return Err(fault);
                }
                bar.suspend(|| output::say(&format!("{fault}; going on with it\n")));
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(LONGEST_WAIT);
            }
        }
    }
}

async fn attempt(
    client: &Client,
    wanted: &Wanted,
    etag: &str,
    part: &mut Part,
    bar: &ProgressBar,
) -> Result<(), Fault> {
    let range = format!("bytes={}-", part.position);
    let headers: &[_] = if part.position > 0 {
        &[(RANGE, range.as_str()), (IF_RANGE, etag)]
    } else {
        &[]
    };
    let mut response: Response = match client.download(&wanted.path(), &wanted.query(), headers).await {
        // All of it is there.
        Err(Fault::Problem { status: 416, .. }) if part.position > 0 => return Ok(()),
        other => other?,
    };
    if part.position > 0 && response.status() != StatusCode::PARTIAL_CONTENT {
        part.begin_anew()?;
        bar.set_position(0);
    }
    let expected = number(response.headers()).map(|bytes| part.position + bytes);
    loop {
        match client.piece(&mut response).await? {
            Some(piece) => {
                part.write(&piece)?;
                bar.inc(piece.len() as u64);
            }
            None if expected.is_none_or(|bytes| bytes == part.position) => return Ok(()),
            None => {
                return Err(Fault::local(
                    "The file broke off",
                    "its end is missing",
                    "Give the command again.",
                ));
            }
        }
    }
}

/// The part of a file that is there.
struct Part {
    path: PathBuf,
    tag: PathBuf,
    file: File,
    hash: Sha256,
    position: u64,
}

impl Part {
    /// Takes up what an earlier command left, if it is of the same file.
    fn open(wanted: &Wanted, etag: &str, resumable: bool) -> Result<Self, Fault> {
        let (path, tag) = (wanted.beside(".part"), wanted.beside(".part.etag"));
        let unwritable = |error: io::Error| unwritable(&path, &error);
        let same = resumable && fs::read_to_string(&tag).is_ok_and(|there| there == etag);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(!same)
            .open(&path)
            .map_err(unwritable)?;
        let mut part = Self {
            path: path.clone(),
            tag,
            file,
            hash: Sha256::new(),
            position: 0,
        };
        if same {
            part.hash_again().map_err(unwritable)?;
        } else {
            fs::write(&part.tag, etag).map_err(unwritable)?;
        }
        Ok(part)
    }

    fn hash_again(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; 1 << 20];
        loop {
            match self.file.read(&mut buffer)? {
                0 => return Ok(()),
                got => {
                    self.hash.update(&buffer[..got]);
                    self.position += got as u64;
                }
            }
        }
    }

    fn begin_anew(&mut self) -> Result<(), Fault> {
        self.file
            .set_len(0)
            .map_err(|error| unwritable(&self.path, &error))?;
        self.hash = Sha256::new();
        self.position = 0;
        Ok(())
    }

    fn write(&mut self, mut bytes: &[u8]) -> Result<(), Fault> {
        self.hash.update(bytes);
        while !bytes.is_empty() {
            let to_block = BLOCK - usize::try_from(self.position % BLOCK as u64).expect("less than a block");
            let (now, rest) = bytes.split_at(to_block.min(bytes.len()));
            if now.iter().any(|byte| *byte != 0) {
                self.put(now).map_err(|error| unwritable(&self.path, &error))?;
            }
            self.position += now.len() as u64;
            bytes = rest;
        }
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(self.position))?;
        self.file.write_all(bytes)
    }

    /// Makes the file as long as what came: zeros at the end were not written.
    fn keep(&mut self) -> Result<(), Fault> {
        let kept = self
            .file
            .set_len(self.position)
            .and_then(|()| self.file.sync_all());
        kept.map_err(|error| unwritable(&self.path, &error))
    }

    /// Gives the file its name if it is the one that the controller means.
    fn prove(self, wanted: &Wanted, sum: &Value) -> Result<(), Fault> {
        let got = hex::encode(self.hash.finalize());
        let expected = sum["sha256"].as_str().unwrap_or_default();
        if got != expected {
            for path in [&self.path, &self.tag] {
                fs::remove_file(path).map_err(|error| unwritable(path, &error))?;
            }
            return Err(Fault::local(
                "The file is not what it should be",
                format!("its SHA-256 is {got}, and {expected} was expected; it was removed"),
                "Give the command again; if it happens again, check memory and disk of this machine.",
            ));
        }
        let name = wanted
            .file
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let about = serde_json::json!({ "image": sum["image"] });
        // Beside it first: a file that has its name has its digest.
        for (ending, text) in [
            (".sha256", sum_line(&got, &name)),
            (".json", format!("{about:#}\n")),
        ] {
            let path = wanted.beside(ending);
            fs::write(&path, text).map_err(|error| unwritable(&path, &error))?;
        }
        fs::rename(&self.path, &wanted.file).map_err(|error| unwritable(&wanted.file, &error))?;
        fs::remove_file(&self.tag).map_err(|error| unwritable(&self.tag, &error))
    }
}

fn unwritable(path: &Path, error: &io::Error) -> Fault {
    Fault::local(
        format!("Cannot write {}", path.display()),
        error.to_string(),
        "Check the path, its permissions and the space on its disk.",
    )
}

/// As `sha256sum` writes it.
fn sum_line(sum: &str, name: &str) -> String {
    let escaped = name
        .replace('\\', "\\\\")
        .replace('\n', "\\n")
        .replace('\r', "\\r");
    let mark = if escaped == name { "" } else { "\\" };
    format!("{mark}{sum}  {escaped}\n")
}
