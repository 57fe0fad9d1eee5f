//! In what a BMC differs from others, and how it fails. The default is a BMC as the standard has it.

/// What a BMC does with the versions of its resources.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Etags {
    /// It tells none.
    #[default]
    None,
    /// It insists on the one that it tells.
    Needed,
    /// It tells weak ones and takes strong ones.
    Weak,
    /// It does not find its own version again.
    Never,
    /// It tells none and insists on one.
    Secret,
}

/// How it takes overrides of the boot order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Overrides {
    /// Once means once.
    #[default]
    Once,
    /// It takes them for good, and says so.
    Continuous,
    /// It refuses Once, and lists what it takes.
    ContinuousOnly,
    /// It takes them and forgets them.
    Forgotten,
    /// It refuses them without the boot mode.
    WithMode,
    /// It refuses them with the boot mode.
    WithoutMode,
    /// It takes them at its settings resource alone.
    AtSettings,
    /// It has none.
    None,
}

/// In what a BMC differs from others, and how it fails.
#[derive(Debug, Clone, Default)]
pub struct Oddities {
    /// Paths without a slash at their end are redirected to those with one.
    pub redirects: bool,
    /// Every request is redirected to this place.
    pub redirects_to: Option<String>,
    /// Versions of resources.
    pub etags: Etags,
    /// Overrides of the boot order.
    pub overrides: Overrides,
    /// Targets that it lists; the usual ones.
    pub targets: Option<Vec<&'static str>>,
    /// Resets that it lists; the usual ones.
    pub resets: Option<Vec<&'static str>>,
    /// It lists them in a resource of their own.
    pub action_info: bool,
    /// Changes are tasks, which are done after so many looks.
    pub tasks: Option<u32>,
    /// Its tasks fail.
    pub tasks_fail: bool,
    /// A change of power shows after so many looks at the system.
    pub slow: u32,
    /// So many resets are taken and forgotten.
    pub forgets_resets: u32,
    /// Nobody reaches it, and nothing is done, until it is back.
    pub away: bool,
    /// So many requests are refused, since it is busy.
    pub busy: u32,
    /// So many requests get no answer at all. What they ask for is done.
    pub silent: u32,
    /// The request with this number, from 0, gets no answer at all. What it asks for is done.
    pub silent_at: Option<u32>,
    /// Sessions end after so many requests.
    pub session_life: Option<u32>,
    /// It knows no sessions.
    pub no_sessions: bool,
    /// The user may only read.
    pub read_only: bool,
    /// It manages a second system.
    pub second_system: bool,
    /// It answers with something that is not JSON.
    pub garbage: bool,
    /// It answers without an end.
    pub endless: bool,
    /// Its chassis has no sensors.
    pub no_sensors: bool,
}

/// Takes one of so many away; whether there was one.
pub(super) fn take(left: &mut u32) -> bool {
    let had = *left > 0;
    *left = left.saturating_sub(1);
    had
}
