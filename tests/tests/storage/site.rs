//! A controller with a back-end that is served.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use imprint_controller::app::App;
use imprint_controller::clock::Clock;
use imprint_controller::config::{Config, VolumesConfig};
use imprint_controller::identity::Caller;
use imprint_controller::server::Server;
use imprint_controller::setup;
use imprint_controller::volumes::{
    self, FromImage, Limits, NbdServer, VolumeRecord, VolumeState, WantedVolume,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::task::JoinSet;

pub struct Site {
    pub app: App,
    pub by: Caller,
    pub tasks: JoinSet<()>,
    listen: SocketAddr,
    folder: tempfile::TempDir,
}

/// Whether a process with this number is there.
pub fn runs(pid: i32) -> bool {
    kill(Pid::from_raw(pid), None).is_ok()
}

/// A small disk with data, holes, and data again.
pub fn write_disk(path: &Path) {
    let mut disk = vec![0; 24 << 20];
    for (number, byte) in disk[..3 << 20].iter_mut().enumerate() {
        *byte = u8::try_from(number * number % 251).unwrap();
    }
    disk[17 << 20..][..5000].fill(0xa5);
    std::fs::write(path, disk).unwrap();
}

fn run(program: &str, arguments: &[&str]) -> Output {
    let done = Command::new(program).args(arguments).output();
    done.unwrap_or_else(|error| panic!("{program} (Debian's package qemu-utils): {error}"))
}

impl Site {
    pub async fn build() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Nobody else takes it: the kernel gives out others first.
        let listen = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut config = Config::loopback(folder.path().join("data"));
        config.volumes = Some(VolumesConfig {
            listen,
            folder: folder.path().join("volumes"),
        });
        let app = App::for_test_with(config, Clock::fake(jiff::Timestamp::now())).await;
        let token = std::fs::read_to_string(app.config.data_dir.join(setup::ADMIN_TOKEN)).unwrap();
        let mut site = Self {
            by: app.api_tokens.check(token.trim()).await.unwrap(),
            app,
            tasks: JoinSet::new(),
            listen,
            folder,
        };
        site.serve().await;
        site
    }

    async fn serve(&mut self) {
        let server = NbdServer::find(self.app.config.volumes.as_ref().unwrap())
            .await
            .unwrap();
        self.tasks.spawn(server.run(self.app.shutdown.clone()));
        self.tasks.spawn(volumes::run(self.app.clone()));
    }

    /// As SIGTERM does it.
    pub async fn end(mut self) {
        self.app.shutdown.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
        self.app.close().await;
    }

    pub async fn make(&self, name: &str, size_bytes: u64) -> VolumeRecord {
        self.made(name, Some(size_bytes), None).await
    }

    pub async fn make_from(&self, name: &str, image: &str, size_bytes: Option<u64>) -> VolumeRecord {
        let from_image = FromImage {
            image: image.to_owned(),
            role: None,
        };
        self.made(name, size_bytes, Some(from_image)).await
    }

    async fn made(&self, name: &str, size_bytes: Option<u64>, from_image: Option<FromImage>) -> VolumeRecord {
        let wanted = WantedVolume {
            name: name.to_owned(),
            project_id: None,
            size_bytes,
            limits: Limits::default(),
            from_image,
        };
        self.app.volumes.make(&self.by, &wanted).await.unwrap()
    }

    pub async fn until_available(&self, name: &str) -> VolumeRecord {
        for _ in 0..300 {
            let record = self.app.volumes.find(&self.by.viewer(), name).await.unwrap();
            assert_ne!(record.state, VolumeState::Error, "{record:?}");
            if record.state == VolumeState::Available {
                return record;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{name} is not made");
    }

    /// As an operator imports a file.
    pub async fn import(&self, name: &str, file: &Path) {
        let server = Server::bind(&self.app).await.unwrap();
        let url = format!(
            "https://127.0.0.1:{}/v1/images?name={name}",
            server.address().port()
        );
        let serving = tokio::spawn(server.run());
        let data = &self.app.config.data_dir;
        let token = std::fs::read_to_string(data.join(setup::ADMIN_TOKEN)).unwrap();
        let done = tokio::process::Command::new("curl")
            .args(["--silent", "--show-error", "--fail", "--request", "POST"])
            .arg("--header")
            .arg(format!("Authorization: Bearer {}", token.trim()))
            .arg("--cacert")
            .arg(data.join("identity/ca.pem"))
            .arg("--upload-file")
            .arg(file)
            .arg(&url)
            .output()
            .await
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        serving.abort();
    }

    /// The same bytes in the file and in the volume, as QEMU reads it.
    pub fn compare(&self, file: &Path, volume: &VolumeRecord) {
        let (file, url) = (file.display().to_string(), self.url(volume));
        let compared = run("qemu-img", &["compare", "-f", "raw", "-F", "raw", &file, &url]);
        assert!(
            compared.status.success(),
            "{} {}",
            String::from_utf8_lossy(&compared.stdout),
            String::from_utf8_lossy(&compared.stderr)
        );
    }

    /// What is asked for stays as it is written down.
    pub async fn stop_driving(&mut self) {
        self.tasks.shutdown().await;
    }

    /// Another controller over the same data, as after a crash.
    pub async fn restart(mut self) -> Self {
        self.tasks.shutdown().await;
        self.app.close().await;
        self.app = App::open(self.app.config.clone(), self.app.clock.clone())
            .await
            .unwrap();
        self.serve().await;
        self
    }

    pub fn url(&self, volume: &VolumeRecord) -> String {
        format!("nbd://{}/{}", self.listen, volume.volume().card_id())
    }

    fn info(&self, volume: &VolumeRecord) -> Option<serde_json::Value> {
        let asked = run("qemu-img", &["info", "--output=json", &self.url(volume)]);
        asked
            .status
            .success()
            .then(|| serde_json::from_slice(&asked.stdout).unwrap())
    }

    pub fn is_served(&self, volume: &VolumeRecord) -> bool {
        self.info(volume).is_some()
    }

    /// Waits for the server.
    pub async fn size_over_nbd(&self, volume: &VolumeRecord) -> u64 {
        for _ in 0..100 {
            if let Some(info) = self.info(volume) {
                return info["virtual-size"].as_u64().unwrap();
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{} is not served", self.url(volume));
    }

    /// Has `qemu-io` do it; it says so when it finds other bytes.
    pub fn io(&self, volume: &VolumeRecord, commands: &[&str]) {
        let url = self.url(volume);
        let mut arguments = vec!["-f", "raw", url.as_str()];
        for command in commands {
            arguments.extend(["-c", command]);
        }
        let done = run("qemu-io", &arguments);
        let said = String::from_utf8_lossy(&done.stdout);
        assert!(
            done.status.success() && !said.contains("failed"),
            "{commands:?}: {said} {}",
            String::from_utf8_lossy(&done.stderr)
        );
    }

    /// The process that serves the folder.
    pub fn server_pid(&self) -> i32 {
        let exports = format!("dir={}", self.folder_of("exports").display());
        for entry in std::fs::read_dir("/proc").unwrap() {
            let entry = entry.unwrap();
            let Ok(pid) = entry.file_name().to_string_lossy().parse() else {
                continue;
            };
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let mut words = line.split(|byte| *byte == 0);
            if words.any(|word| word == exports.as_bytes()) {
                return pid;
            }
        }
        panic!("nobody serves {exports}");
    }

    pub fn kill_server(&self, pid: i32) {
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    }

    pub fn folder_of(&self, name: &str) -> PathBuf {
        self.folder.path().join("volumes").join(name)
    }
}
