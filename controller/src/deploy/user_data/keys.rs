//! The keys of a cloud-config, and what values cloud-init takes for them, up to version 24.

/// What a value may be, as a sum of these.
pub(super) const TEXT: u8 = 1;
pub(super) const BOOL: u8 = 2;
pub(super) const NUMBER: u8 = 4;
pub(super) const LIST: u8 = 8;
pub(super) const MAP: u8 = 16;
pub(super) const NULL: u8 = 32;
/// Nobody looks.
pub(super) const ANY: u8 = 255;

/// One key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    pub name: &'static str,
    /// What its value may be.
    pub takes: u8,
    /// What the entries may be when the value is a list.
    pub entries: u8,
    /// What an entry that is a mapping must have one of; empty: nothing.
    pub needs: &'static [&'static str],
}

const fn key(name: &'static str, takes: u8) -> Key {
    list(name, takes, ANY)
}

const fn list(name: &'static str, takes: u8, entries: u8) -> Key {
    Key {
        name,
        takes,
        entries,
        needs: &[],
    }
}

/// All of them, by name.
pub(super) const KEYS: &[Key] = &[
    key("allow_public_ssh_keys", BOOL),
    key("ansible", MAP),
    key("apk_repos", MAP),
    key("apt", MAP),
    key("apt_pipelining", BOOL + NUMBER + TEXT),
    key("apt_reboot_if_required", BOOL),
    key("apt_update", BOOL),
    key("apt_upgrade", BOOL),
    key("authkey_hash", TEXT),
    key("autoinstall", MAP),
    list("bootcmd", LIST, LIST + TEXT),
    key("byobu_by_default", TEXT),
    key("ca-certs", MAP),
    key("ca_certs", MAP),
    key("chef", MAP),
    key("chpasswd", MAP),
    key("cloud_config_modules", LIST),
    key("cloud_final_modules", LIST),
    key("cloud_init_modules", LIST),
    key("create_hostname_file", BOOL),
    key("datasource", MAP),
    key("datasource_list", LIST),
    key("debug", MAP),
    key("def_log_file", TEXT),
    key("device_aliases", MAP),
    key("disable_ec2_metadata", BOOL),
    key("disable_root", BOOL),
    key("disable_root_opts", TEXT),
    key("disk_setup", MAP),
    key("drivers", MAP),
    key("fan", MAP),
    key("final_message", TEXT),
    key("fqdn", TEXT),
    list("fs_setup", LIST, MAP),
    key("groups", LIST + MAP + TEXT),
    key("growpart", MAP),
    key("grub-dpkg", MAP),
    key("grub_dpkg", MAP),
    key("hostname", TEXT),
    key("keyboard", MAP),
    key("landscape", MAP),
    key("launch-index", NUMBER),
    key("locale", BOOL + TEXT),
    key("locale_configfile", TEXT),
    key("log_cfgs", LIST),
    key("lxd", MAP),
    key("manage_etc_hosts", BOOL + TEXT),
    key("manage_resolv_conf", BOOL),
    key("mcollective", MAP),
    key("merge_how", ANY),
    key("merge_type", ANY),
    key("migrate", BOOL),
    list("mount_default_fields", LIST, NULL + TEXT),
    list("mounts", LIST, LIST),
    key("no_ssh_fingerprints", BOOL),
    key("ntp", MAP + NULL),
    key("output", MAP),
    key("package_reboot_if_required", BOOL),
    key("package_update", BOOL),
    key("package_upgrade", BOOL),
    list("packages", LIST, LIST + MAP + TEXT),
    key("password", TEXT),
    key("phone_home", MAP),
    key("power_state", MAP),
    key("prefer_fqdn_over_hostname", BOOL),
    key("preserve_hostname", BOOL),
    key("puppet", MAP),
    key("random_seed", MAP),
    key("reporting", MAP),
    key("resize_rootfs", BOOL + TEXT),
    key("resolv_conf", MAP),
    key("rh_subscription", MAP),
    key("rpi", MAP),
    key("rsyslog", MAP),
    list("runcmd", LIST, LIST + NULL + TEXT),
    key("salt_minion", MAP),
    key("snap", MAP),
    key("spacewalk", MAP),
    key("ssh", MAP),
    list("ssh_authorized_keys", LIST, TEXT),
    key("ssh_deletekeys", BOOL),
    list("ssh_fp_console_blacklist", LIST, TEXT),
    list("ssh_genkeytypes", LIST, TEXT),
    list("ssh_import_id", LIST, TEXT),
    list("ssh_key_console_blacklist", LIST, TEXT),
    key("ssh_keys", MAP),
    key("ssh_publish_hostkeys", MAP),
    key("ssh_pwauth", BOOL + TEXT),
    key("ssh_quiet_keygen", BOOL),
    key("swap", MAP),
    key("syslog_fix_perms", LIST + TEXT),
    key("system_info", MAP),
    key("timezone", TEXT),
    key("ubuntu_advantage", MAP),
    key("ubuntu_pro", MAP),
    key("updates", MAP),
    key("user", MAP + TEXT),
    Key {
        name: "users",
        takes: LIST + MAP + TEXT,
        entries: LIST + MAP + TEXT,
        needs: &["name", "snapuser"],
    },
    key("vendor_data", MAP),
    key("vendor_data2", MAP),
    key("wireguard", MAP + NULL),
    Key {
        name: "write_files",
        takes: LIST,
        entries: MAP,
        needs: &["path"],
    },
    key("yum_repo_dir", TEXT),
    key("yum_repos", MAP),
    key("zypper", MAP),
];
