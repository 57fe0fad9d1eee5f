//! Arguments of kernels, as they go through boot loaders.

/// The longest argument.
pub(super) const MAX_ARGUMENT: usize = 128;
/// All arguments of a model together: kernels take 2,048 bytes of which others need some.
pub(super) const MAX_ARGUMENTS: usize = 1024;

/// Whether an argument means the same to iPXE and to a kernel: one word of printable ASCII, nothing that a script would
/// expand, split or take for a comment.
#[must_use]
pub fn usable_argument(argument: &str) -> bool {
    !argument.is_empty()
        && argument.bytes().all(|b| b.is_ascii_graphic())
        && !["${", "&&", "||"].iter().any(|part| argument.contains(part))
        && !argument.starts_with('#')
}
