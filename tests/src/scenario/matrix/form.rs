//! The forms that user-data comes in. Each makes the lab's user, leaves the form's name in a file, and a mark at its end.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::process;
use crate::ssh::{SshKey, USER};

/// Where the installed system keeps the form's name.
pub const NAME_FILE: &str = "/etc/lab-form";
/// Made by what runs last.
pub const MARK: &str = "/run/lab-user-data";

/// One form of user-data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `#cloud-config`.
    CloudConfig,
    /// `#!/bin/sh`.
    Script,
    /// A cloud-config and a script as parts of one MIME message.
    Mime,
    /// A cloud-config, packed.
    Gzip,
    /// A cloud-config that is made from a template on the server.
    Jinja,
}

impl Form {
    #[cfg(test)]
    pub const ALL: &[Self] = &[
        Self::CloudConfig,
        Self::Script,
        Self::Mime,
        Self::Gzip,
        Self::Jinja,
    ];

    /// What stands in [`NAME_FILE`] when it was carried out.
    pub fn proof(self, hostname: &str) -> String {
        match self {
            Self::CloudConfig => "cloud-config".to_owned(),
            Self::Script => "script".to_owned(),
            Self::Mime => "mime".to_owned(),
            Self::Gzip => "gzip".to_owned(),
            Self::Jinja => format!("jinja on {hostname}"),
        }
    }

    /// Writes it to a file.
    pub fn write(self, key: &SshKey, folder: &Path) -> Result<PathBuf> {
        let file = folder.join("user-data");
        fs::write(&file, self.text(key)).context("cannot write the user-data")?;
        if self == Self::Gzip {
            process::run(
                Command::new("gzip").args(["--no-name", "--force"]).arg(&file),
                Duration::from_secs(10),
            )?;
            return Ok(folder.join("user-data.gz"));
        }
        Ok(file)
    }

    fn text(self, key: &SshKey) -> String {
        match self {
            Self::CloudConfig | Self::Gzip => config(key, &self.proof(""), true),
            Self::Script => script(key),
            // The file is the config's, the mark the script's: both parts have to be carried out.
            Self::Mime => format!(
                "Content-Type: multipart/mixed; boundary=\"==lab==\"\nMIME-Version: 1.0\n\n\
                 --==lab==\nContent-Type: text/cloud-config; charset=\"us-ascii\"\nMIME-Version: 1.0\n\n{}\n\
                 --==lab==\nContent-Type: text/x-shellscript; charset=\"us-ascii\"\nMIME-Version: 1.0\n\n\
                 #!/bin/sh\ntouch {MARK}\n\n--==lab==--\n",
                config(key, &self.proof(""), false)
            ),
            Self::Jinja => format!(
                "## template: jinja\n{}",
                config(key, &self.proof("{{ v1.local_hostname }}"), true)
            ),
        }
    }
}

fn config(key: &SshKey, proof: &str, mark: bool) -> String {
    let run = if mark {
        format!("runcmd:\n  - [touch, {MARK}]\n")
    } else {
        String::new()
    };
    format!(
        "#cloud-config\nusers:\n  - name: {USER}\n    sudo: ALL=(ALL) NOPASSWD:ALL\n    shell: /bin/bash\n    \
         ssh_authorized_keys:\n      - {}\nwrite_files:\n  - path: {NAME_FILE}\n    content: '{proof}'\n{run}",
        key.public
    )
}

fn script(key: &SshKey) -> String {
    format!(
        "#!/bin/sh\nset -eu\nuseradd --create-home --shell /bin/bash {USER}\n\
         install -d -m 700 -o {USER} -g {USER} /home/{USER}/.ssh\n\
         echo '{}' > /home/{USER}/.ssh/authorized_keys\n\
         chown {USER}:{USER} /home/{USER}/.ssh/authorized_keys\n\
         echo '{USER} ALL=(ALL) NOPASSWD:ALL' > /etc/sudoers.d/{USER}\n\
         printf script > {NAME_FILE}\ntouch {MARK}\n",
        key.public
    )
}
