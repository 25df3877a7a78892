//! Who is told of what: routes, and the notifiers beside the log.
//!
//! Never tells anybody by itself, and never keeps a notice from the log.

mod webhook;

use std::sync::Arc;

use staunch_connectors::notifiers::log::LogNotifier;
use staunch_model::{InstallationId, Notice};
use staunch_ports::notifier::{About, Notifier, NotifyError};

use crate::config::{Config, NotifierKind, NotifierSettings, RouteSettings};
use crate::exit::Fault;
use webhook::Webhook;

/// The notifiers of `config`: the log, and those that routes lead to.
pub(crate) fn notifiers(config: &Config, installation: InstallationId) -> Vec<Box<dyn Notifier>> {
    let routes: Arc<[RouteSettings]> = config.routes.clone().into();
    let mut all: Vec<Box<dyn Notifier>> = vec![Box::new(LogNotifier)];
    for (name, settings) in &config.notifiers {
        let notifier = match settings.kind {
            NotifierKind::Webhook => Webhook::new(name, settings, installation),
        };
        all.push(Box::new(Routed {
            routes: routes.clone(),
            notifier: Box::new(notifier),
        }));
    }
    all
}

/// Looks whether the files of a notifier can be used. Tells nobody.
///
/// # Errors
/// Why they cannot, and what to do about it.
pub(crate) fn check(settings: &NotifierSettings) -> Result<(), Fault> {
    match settings.kind {
        NotifierKind::Webhook => webhook::check(settings),
    }
}

/// A notifier that has what routes lead to it.
struct Routed {
    routes: Arc<[RouteSettings]>,
    notifier: Box<dyn Notifier>,
}

impl Notifier for Routed {
    fn name(&self) -> &str {
        self.notifier.name()
    }

    fn notify(&mut self, notice: &Notice, about: &About) -> Result<(), NotifyError> {
        if lead_to(&self.routes, self.notifier.name(), notice, about) {
            self.notifier.notify(notice, about)
        } else {
            Ok(())
        }
    }
}

/// True when `notice` is for the notifier `name`.
fn lead_to(routes: &[RouteSettings], name: &str, notice: &Notice, about: &About) -> bool {
    let is_for = |route: &RouteSettings| route.to.iter().any(|it| it == name);
    let mut holding = routes
        .iter()
        .filter(|it| !it.is_default() && holds(it, notice, about))
        .peekable();
    if holding.peek().is_some() {
        return holding.any(is_for);
    }
    routes.iter().filter(|it| it.is_default()).any(is_for)
}

fn holds(route: &RouteSettings, notice: &Notice, about: &About) -> bool {
    let is = |wanted: &Option<String>, value: Option<&str>| wanted.as_deref().is_none_or(|it| value == Some(it));
    let of_asset = || {
        about.assets.iter().any(|it| {
            is(&route.team, it.owner.as_deref())
                && is(&route.environment, it.environment.as_deref())
                && is(&route.tier, it.tier.as_deref())
                && is(&route.data_class, it.data_class.as_deref())
        })
    };
    let of_account = || {
        let mut identities = about.accounts.iter().filter_map(|it| it.identity.as_ref());
        identities.any(|it| {
            // Where the route says more of an asset, it is the asset that is asked for its team.
            (route.is_about_assets() || is(&route.team, it.team.as_deref()))
                && route.identity_kind.is_none_or(|wanted| it.kind == Some(wanted))
                && route.break_glass.is_none_or(|wanted| it.break_glass == wanted)
        })
    };
    let of_things = match (route.is_about_assets(), route.is_about_accounts()) {
        (true, true) => of_asset() && of_account(),
        (true, false) => of_asset(),
        (false, true) => of_account(),
        (false, false) => route.team.is_none() || of_asset() || of_account(),
    };
    route.level.is_none_or(|least| notice.level >= least) && of_things
}

#[cfg(test)]
mod tests;
