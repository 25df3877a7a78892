//! Who runs this program, as records have it.
//!
//! Never believes an environment that anybody may set.

use std::fs;

use nix::unistd::{Uid, User};

/// The most characters of it.
const NAME_CHARS_MAX: usize = 300;

/// Who runs this program, and where.
pub(crate) fn actor() -> String {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let user = User::from_uid(Uid::current()).ok().flatten();
    let sudo = std::env::var("SUDO_USER").ok();
    actor_of(Uid::current(), user.map(|it| it.name), sudo.as_deref(), host.trim())
}

/// sudo says for whom; whoever may be the superuser may say anything, and anybody else has not been through sudo.
fn actor_of(uid: Uid, user: Option<String>, sudo: Option<&str>, host: &str) -> String {
    let user = user.unwrap_or_else(|| format!("uid {uid}"));
    let shown = match sudo.filter(|it| uid.is_root() && !it.is_empty() && *it != user) {
        Some(sudo) => format!("{user} (sudo of {sudo})@{host}"),
        None => format!("{user}@{host}"),
    };
    shown.chars().take(NAME_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_went_through_sudo_is_believed_of_the_superuser_alone() {
        let of = |uid, user: &str, sudo| actor_of(Uid::from_raw(uid), Some(user.to_owned()), sudo, "web-1");
        assert_eq!(of(0, "root", Some("alice")), "root (sudo of alice)@web-1");
        assert_eq!(of(0, "root", Some("root")), "root@web-1");
        assert_eq!(of(0, "root", Some("")), "root@web-1");
        assert_eq!(of(0, "root", None), "root@web-1");
        assert_eq!(of(1000, "mallory", Some("alice")), "mallory@web-1");
        assert_eq!(actor_of(Uid::from_raw(7), None, Some("alice"), "web-1"), "uid 7@web-1");
    }
}
