//! How pools and providers stand, read from Redis for those who watch.
//!
//! Comes in: `GET /metrics` and `GET /internal/gen-health`, from anybody and as often as they like.
//! Goes out: one `Reading`, at most a second old: whoever asks within that time gets the same one,
//! and who asks while it is being read waits for it. So no number of scrapes loads Redis. A cell whose
//! Redis does not answer within `PATIENCE` is told as that, and never as an error: the process's own
//! numbers are of most use just then.

use std::sync::Arc;
use std::time::Duration;

use framewire_shared::domain::guard::Look;
use framewire_shared::domain::{Cell, GuardOptions};
use framewire_shared::service::settings::Settings;
use framewire_shared::store::survey::Survey;
use framewire_shared::store::{Store, StoreError};
use futures::future::join_all;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

/// How old a reading may be: shorter than any scrape interval, longer than a rush.
const FRESH: Duration = Duration::from_secs(1);
/// Longest wait for Redis: a scrape is given up after ten seconds by default, a person sooner.
const PATIENCE: Duration = Duration::from_millis(1_500);

/// A provider that has a guard.
#[derive(Debug, Clone)]
pub struct Guarded {
    /// Its name in the settings.
    pub name: String,
    /// What it is guarded by.
    pub options: GuardOptions,
}

/// Reads, and remembers for a moment.
#[derive(Debug)]
pub struct Outlook {
    store: Store,
    guards: Vec<Guarded>,
    newest: Mutex<Option<(Instant, Arc<Reading>)>>,
}

/// What was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// The cells, and whether their Redis answered.
    pub cells: Vec<(Cell, bool)>,
    /// The pools of all cells that answered, together.
    pub all: Survey,
    /// In the order of [`Outlook::guards`]; `None` for what could not be read.
    pub guards: Vec<Option<Look>>,
}

impl Reading {
    /// Tells whether any cell's Redis answered.
    pub fn is_up(&self) -> bool {
        self.cells.iter().any(|(_, is_up)| *is_up)
    }
}

impl Outlook {
    /// Makes one that has read nothing yet.
    pub fn new(store: Store, settings: &Settings) -> Self {
        let guarded = settings.providers.iter().filter_map(|(name, provider)| {
            let options = provider.guard(settings.breaker.enabled)?;
            Some(Guarded { name: name.clone(), options })
        });
        Self { store, guards: guarded.collect(), newest: Mutex::default() }
    }

    /// Lists the providers that have a guard.
    pub fn guards(&self) -> &[Guarded] {
        &self.guards
    }

    /// Gives what was read a moment ago, or reads it now.
    pub async fn read(&self) -> Arc<Reading> {
        let mut newest = self.newest.lock().await;
        if let Some((at, reading)) = &*newest
            && at.elapsed() < FRESH
        {
            return reading.clone();
        }
        let reading = Arc::new(self.ask().await);
        *newest = Some((Instant::now(), reading.clone()));
        reading
    }

    /// Asks all at the same time: one that is away holds up no other.
    async fn ask(&self) -> Reading {
        let surveys = self.store.cells().into_iter().map(async |cell| {
            let answer = timeout(PATIENCE, self.store.survey(cell)).await;
            let is_up = !matches!(answer, Err(_) | Ok(Err(StoreError::Unavailable(_))));
            ((cell, is_up), answer.ok().and_then(Result::ok))
        });
        let guards = self.guards.iter().map(async |Guarded { name, options }| {
            let (state, now) = timeout(PATIENCE, self.store.guard(name)).await.ok()?.ok()?;
            Some(state.look(options, now))
        });
        let (surveys, guards) = tokio::join!(join_all(surveys), join_all(guards));
        let mut all = Survey::default();
        surveys.iter().filter_map(|(_, survey)| survey.as_ref()).for_each(|its| all.add(its));
        let cells = surveys.into_iter().map(|(cell, _)| cell).collect();
        Reading { cells, all, guards }
    }
}
