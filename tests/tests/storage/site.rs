//! A controller with a back-end that is served.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use imprint_controller::app::App;
use imprint_controller::clock::Clock;
use imprint_controller::config::{Config, VolumesConfig};
use imprint_controller::identity::Caller;
use imprint_controller::setup;
use imprint_controller::volumes::{self, Limits, NbdServer, VolumeRecord, WantedVolume};
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
        let wanted = WantedVolume {
            name: name.to_owned(),
            project_id: None,
            size_bytes,
            limits: Limits::default(),
        };
        self.app.volumes.make(&self.by, &wanted).await.unwrap()
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
