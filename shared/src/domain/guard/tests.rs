//! Each machine by example, and all together under random use.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::super::failure::{ErrorCode, Resend};
use super::options::BudgetOptions;
use super::*;

const START: u64 = 1_800_000_000_000;
const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;

/// A guard, its moment, and short verbs.
struct Bench {
    options: GuardOptions,
    state: GuardState,
    now: u64,
    holders: u32,
}

impl Bench {
    fn new(options: GuardOptions) -> Self {
        options.check().unwrap();
        Self { options, state: GuardState::default(), now: START, holders: 0 }
    }

    fn unlimited() -> Self {
        Self::new(GuardOptions { concurrency: 100, ..GuardOptions::local() })
    }

    fn ask(&mut self, purpose: Purpose) -> Result<(String, Granted), Refused> {
        self.holders += 1;
        let holder = format!("h{}", self.holders);
        let granted = self.state.acquire(&self.options, &holder, purpose, self.now)?;
        Ok((holder, granted))
    }

    fn job(&mut self) -> Result<(String, Granted), Refused> {
        self.ask(Purpose::Job)
    }

    fn settle(&mut self, holder: &str, outcome: &Outcome) {
        self.state.settle(&self.options, holder, outcome, self.now);
    }

    /// Runs a call that is granted.
    fn run(&mut self, purpose: Purpose, outcome: &Outcome) {
        let (holder, _) = self.ask(purpose).expect("a grant");
        self.settle(&holder, outcome);
    }

    fn runs(&mut self, outcomes: impl IntoIterator<Item = Outcome>) {
        for outcome in outcomes {
            self.run(Purpose::Job, &outcome);
        }
    }

    fn refusal(&mut self) -> (Reason, u64) {
        let refused = self.job().expect_err("a refusal");
        (refused.reason, ms(refused.wait))
    }

    fn phase(&self) -> Phase {
        self.state.breaker.phase
    }
}

fn ok() -> Outcome {
    took(1_000)
}

fn took(ms: u64) -> Outcome {
    Outcome::Success { took: Duration::from_millis(ms) }
}

fn failed(failure: Failure) -> Outcome {
    Outcome::Failed { failure, took: Duration::from_secs(1) }
}

fn code(code: ErrorCode) -> Outcome {
    failed(Failure::new(code, "words for the user"))
}

fn slow_down(seconds: u64) -> Outcome {
    let failure = Failure::new(ErrorCode::RateLimit, "slow down");
    failed(failure.after(Duration::from_secs(seconds)))
}

/// Opens the breaker.
fn opened() -> Bench {
    let mut bench = Bench::unlimited();
    bench.runs([(); 3].map(|()| code(ErrorCode::Timeout)));
    assert_eq!(bench.phase(), Phase::Open);
    bench
}

#[test]
fn three_timeouts_in_a_row_open_it_and_an_answer_between_them_does_not() {
    let mut bench = Bench::unlimited();
    let timeout = || code(ErrorCode::Timeout);
    bench.runs(std::iter::repeat_n(ok(), 6));
    bench.runs([timeout(), timeout(), ok(), timeout(), timeout()]);
    assert_eq!(bench.phase(), Phase::Closed);
    // A refused request says nothing: neither that it is slow nor that it is well.
    bench.runs([code(ErrorCode::Permanent), timeout()]);
    assert_eq!(bench.phase(), Phase::Open);
    assert_eq!(bench.state.breaker.reason, "3 timeouts in a row");
    assert_eq!(bench.refusal().0, Reason::Breaker);
}

#[test]
fn half_of_at_least_five_attempts_opens_it_with_the_last_words() {
    let mut bench = Bench::unlimited();
    let down = || code(ErrorCode::Temporary);
    bench.runs([down(), down(), down(), down()]);
    assert_eq!(bench.phase(), Phase::Closed, "four attempts say nothing");
    bench.runs([down()]);
    assert_eq!(bench.phase(), Phase::Open);
    let reason = "failure rate 1.00 over 5 attempts; last: TEMPORARY words for the user";
    assert_eq!(bench.state.breaker.reason, reason);
    let mut bench = Bench::unlimited();
    bench.runs([ok(), ok(), ok(), ok(), down(), down(), down()]);
    assert_eq!(bench.phase(), Phase::Closed, "three of seven are fewer than half");
    bench.runs([down()]);
    assert_eq!(bench.phase(), Phase::Open);
}

#[test]
fn what_is_older_than_the_window_is_forgotten() {
    let mut bench = Bench::unlimited();
    bench.runs(std::iter::repeat_n(ok(), 100));
    bench.runs(std::iter::repeat_n(code(ErrorCode::Temporary), 14));
    assert_eq!((bench.phase(), bench.state.window.len()), (Phase::Closed, 30));
    bench.runs([code(ErrorCode::Temporary)]);
    assert_eq!(bench.phase(), Phase::Open);
}

#[test]
fn users_bad_input_and_our_own_failures_never_open_it() {
    let mut bench = Bench::unlimited();
    bench.runs(std::iter::repeat_n(code(ErrorCode::Permanent), 40));
    let ours = Failure::new(ErrorCode::Temporary, "the disk is full").kind(FailureKind::Ours);
    bench.runs(std::iter::repeat_n(failed(ours), 40));
    assert!(bench.state.window.is_empty() && bench.phase() == Phase::Closed);
}

#[test]
fn a_refused_credential_opens_it_at_once_and_says_so_to_the_operator() {
    let mut bench = Bench::unlimited();
    let failure = Failure::new(ErrorCode::AuthError, "not available").detail("401 invalid_api_key");
    bench.runs([ok(), failed(failure)]);
    assert_eq!(bench.phase(), Phase::Open);
    let reason = "it refuses our credentials: AUTH_ERROR 401 invalid_api_key";
    assert_eq!(bench.state.breaker.reason, reason);
}

#[test]
fn an_unpaid_bill_opens_it_at_once_and_for_longer() {
    let mut bench = Bench::unlimited();
    let unpaid = Failure::new(ErrorCode::RateLimit, "no quota left").resend(Resend::Never);
    bench.runs([failed(unpaid)]);
    assert_eq!(bench.phase(), Phase::Open);
    bench.now += 9 * MINUTE;
    assert!(bench.ask(Purpose::Probe).is_err());
    bench.now += MINUTE;
    assert!(bench.ask(Purpose::Probe).is_ok());
}

#[test]
fn an_open_one_lets_one_probe_through_per_minute_and_closes_after_three() {
    let mut bench = opened();
    assert_eq!(bench.refusal(), (Reason::Breaker, 3 * MINUTE), "rest, and two minutes of probes");
    assert!(bench.ask(Purpose::Probe).is_err(), "a probe before the rest is over");
    for left in (0..3).rev() {
        bench.now += MINUTE;
        bench.run(Purpose::Probe, &ok());
        assert!(bench.ask(Purpose::Probe).is_err(), "two probes in a minute");
        if left > 0 {
            assert_eq!(bench.phase(), Phase::HalfOpen);
            assert_eq!(bench.refusal(), (Reason::Breaker, left * MINUTE));
        }
    }
    assert_eq!(bench.phase(), Phase::Closed);
    assert!(bench.state.window.is_empty(), "it is judged by what it did before");
    bench.runs([ok()]);
}

#[test]
fn a_failed_probe_opens_it_again_and_the_count_begins_anew() {
    let mut bench = opened();
    for outcome in [ok(), ok(), code(ErrorCode::Temporary)] {
        bench.now += MINUTE;
        bench.run(Purpose::Probe, &outcome);
    }
    assert_eq!((bench.phase(), bench.state.breaker.successes), (Phase::Open, 0));
    assert_eq!(bench.state.breaker.reason, "a probe failed: TEMPORARY words for the user");
    assert_eq!(bench.refusal().1, 3 * MINUTE);
}

#[test]
fn a_probe_that_the_provider_refuses_shows_that_it_is_well() {
    let mut bench = opened();
    for _ in 0..3 {
        bench.now += MINUTE;
        bench.run(Purpose::Probe, &code(ErrorCode::Permanent));
    }
    assert_eq!(bench.phase(), Phase::Closed);
}

#[test]
fn a_throttled_probe_says_neither_and_the_next_waits() {
    let mut bench = opened();
    bench.now += MINUTE;
    bench.run(Purpose::Probe, &slow_down(300));
    assert_eq!((bench.phase(), bench.state.breaker.successes), (Phase::HalfOpen, 0));
    bench.now += 299 * SECOND;
    assert_eq!(bench.ask(Purpose::Probe).unwrap_err().reason, Reason::Throttle);
    bench.now += SECOND;
    assert!(bench.ask(Purpose::Probe).is_ok());
}

#[test]
fn calls_that_were_under_way_when_it_opened_do_not_close_it() {
    let mut bench = Bench::unlimited();
    let (early, _) = bench.job().unwrap();
    bench.runs([(); 3].map(|()| code(ErrorCode::Timeout)));
    bench.now += MINUTE;
    let (probe, _) = bench.ask(Purpose::Probe).unwrap();
    bench.settle(&early, &ok());
    assert_eq!((bench.phase(), bench.state.breaker.successes), (Phase::HalfOpen, 0));
    bench.now += MINUTE;
    assert_eq!(bench.ask(Purpose::Probe).unwrap_err().reason, Reason::Busy, "two probes at once");
    bench.settle(&probe, &ok());
    assert!(bench.ask(Purpose::Probe).is_ok());
}

#[test]
fn switched_off_it_refuses_nothing_and_records_all_the_same() {
    let mut bench = Bench::unlimited();
    bench.options.breaker.enabled = false;
    bench.runs([(); 9].map(|()| code(ErrorCode::Timeout)));
    assert_eq!((bench.phase(), bench.state.window.len()), (Phase::Open, 9));
    bench.options.breaker.enabled = true;
    assert_eq!(bench.refusal().0, Reason::Breaker);
}

#[test]
fn the_timeout_follows_the_slow_calls_within_its_bounds() {
    let mut bench = Bench::unlimited();
    let seconds = |bench: &mut Bench| bench.job().unwrap().1.timeout.as_secs();
    assert_eq!(seconds(&mut bench), 90, "nothing is known");
    bench.runs([took(1_000)]);
    assert_eq!(seconds(&mut bench), 45);
    bench.runs(std::iter::repeat_n(took(2_000), 28).chain([took(50_000)]));
    assert_eq!(seconds(&mut bench), 45, "one slow call of thirty moves nothing");
    bench.runs([took(50_000)]);
    assert_eq!(seconds(&mut bench), 60, "the 29th of 30, and ten seconds");
    bench.runs([took(88_000), took(88_000)]);
    assert_eq!(seconds(&mut bench), 90);
}

#[test]
fn a_provider_that_became_slower_than_its_timeout_is_given_more() {
    let mut bench = Bench::unlimited();
    bench.runs(std::iter::repeat_n(took(20_000), 10));
    let failure = Failure::new(ErrorCode::Timeout, "too slow");
    bench.runs([Outcome::Failed { failure, took: Duration::from_secs(45) }]);
    assert_eq!(bench.job().unwrap().1.timeout, Duration::from_secs(55));
}

#[test]
fn a_paid_provider_gets_five_calls_and_one_more_per_minute() {
    let mut bench = Bench::new(GuardOptions { concurrency: 100, ..GuardOptions::paid() });
    let before: Vec<_> = (0..5).map(|_| bench.job().unwrap().1.budget_before.unwrap()).collect();
    assert_eq!(before, [5, 4, 3, 2, 1]);
    assert_eq!(bench.refusal(), (Reason::Budget, MINUTE));
    bench.now += MINUTE - 1;
    assert_eq!(bench.refusal(), (Reason::Budget, 1));
    bench.now += 1;
    assert_eq!(bench.job().unwrap().1.budget_before, Some(1));
    assert_eq!(bench.refusal(), (Reason::Budget, MINUTE));
    bench.now += 60 * MINUTE;
    assert_eq!(bench.job().unwrap().1.budget_before, Some(5), "a bucket holds no more than it can");
}

#[test]
fn a_permit_without_a_call_costs_no_token_and_a_call_always_does() {
    let mut bench = Bench::new(GuardOptions { concurrency: 100, ..GuardOptions::paid() });
    let (unused, _) = bench.job().unwrap();
    bench.state.give_back(&bench.options, &unused, bench.now);
    bench.state.give_back(&bench.options, &unused, bench.now);
    let (used, granted) = bench.job().unwrap();
    assert_eq!(granted.budget_before, Some(5));
    bench.settle(&used, &Outcome::Unsaid);
    assert_eq!(bench.job().unwrap().1.budget_before, Some(4));
    assert!(bench.state.window.is_empty());
}

#[test]
fn a_token_that_waited_with_its_taker_for_longer_than_the_next_took_is_lost() {
    let mut bench = Bench::new(GuardOptions { concurrency: 100, ..GuardOptions::paid() });
    let holders: Vec<_> = (0..5).map(|_| bench.job().unwrap().0).collect();
    bench.now += MINUTE;
    for holder in holders {
        bench.state.give_back(&bench.options, &holder, bench.now);
    }
    assert_eq!(bench.job().unwrap().1.budget_before, Some(1), "tokens have piled up");
}

#[test]
fn one_gpu_gets_one_call_at_a_time_and_a_dead_holders_permit_lapses() {
    let mut bench = Bench::new(GuardOptions::local());
    let (holder, granted) = bench.job().unwrap();
    let lapse_ms = ms(granted.timeout + options::PERMIT_SLACK);
    assert_eq!(bench.refusal(), (Reason::Busy, lapse_ms));
    bench.settle(&holder, &Outcome::Unsaid);
    bench.job().unwrap();
    bench.now += lapse_ms - 1;
    assert_eq!(bench.refusal(), (Reason::Busy, 1));
    bench.now += 1;
    bench.job().unwrap();
}

#[test]
fn who_takes_the_last_place_or_the_last_token_is_told_so() {
    let lasts = |concurrency, capacity| {
        let budget = Some(BudgetOptions { capacity, every: Duration::from_secs(60) });
        let mut bench = Bench::new(GuardOptions { concurrency, budget, ..GuardOptions::paid() });
        [(); 3].map(|()| bench.job().map(|(_, granted)| granted.last).ok())
    };
    assert_eq!(lasts(2, 9), [Some(false), Some(true), None]);
    assert_eq!(lasts(9, 2), [Some(false), Some(true), None]);
    assert_eq!(lasts(9, 9), [Some(false); 3]);
}

#[test]
fn asking_or_settling_twice_is_asking_or_settling_once() {
    let mut bench = Bench::new(GuardOptions::paid());
    let (holder, first) = bench.job().unwrap();
    let again = bench.state.acquire(&bench.options, &holder, Purpose::Job, bench.now);
    assert_eq!((again, bench.state.running.len()), (Ok(first), 1));
    for _ in 0..3 {
        bench.settle(&holder, &code(ErrorCode::Timeout));
    }
    assert_eq!((bench.state.window.len(), bench.phase()), (1, Phase::Closed));
}

#[test]
fn throttling_alone_waits_as_told_or_ever_longer_and_never_opens_the_breaker() {
    let mut bench = Bench::unlimited();
    bench.runs([slow_down(7)]);
    assert_eq!(bench.refusal(), (Reason::Throttle, 7 * SECOND));
    let untold = || code(ErrorCode::RateLimit);
    for seconds in [10, 20, 40] {
        bench.now = bench.state.throttle.until;
        bench.runs([untold()]);
        assert_eq!(bench.refusal(), (Reason::Throttle, seconds * SECOND));
    }
    for _ in 0..40 {
        bench.now = bench.state.throttle.until;
        bench.runs([untold()]);
    }
    assert_eq!((bench.phase(), bench.refusal()), (Phase::Closed, (Reason::Throttle, 15 * MINUTE)));
    bench.now = bench.state.throttle.until;
    bench.runs([ok(), slow_down(99_999)]);
    assert_eq!(bench.refusal(), (Reason::Throttle, 15 * MINUTE), "a wait has an end");
}

#[test]
fn calls_that_are_throttled_together_count_once() {
    let mut bench = Bench::unlimited();
    let holders: Vec<_> = (0..8).map(|_| bench.job().unwrap().0).collect();
    for holder in holders {
        bench.settle(&holder, &code(ErrorCode::RateLimit));
    }
    assert_eq!(bench.refusal(), (Reason::Throttle, 5 * SECOND));
}

#[test]
fn an_overloaded_provider_that_names_a_time_is_left_alone_until_then() {
    let mut bench = Bench::unlimited();
    let busy = Failure::new(ErrorCode::Temporary, "busy").after(Duration::from_secs(30));
    bench.runs([failed(busy)]);
    assert_eq!(bench.refusal(), (Reason::Throttle, 30 * SECOND));
}

#[test]
fn a_clock_that_jumps_back_makes_no_wait_longer_than_it_was() {
    let mut bench = Bench::new(GuardOptions { concurrency: 1, ..GuardOptions::paid() });
    bench.runs([slow_down(900)]);
    bench.now += 15 * MINUTE;
    bench.runs([(); 3].map(|()| code(ErrorCode::Timeout)));
    bench.now += MINUTE;
    bench.ask(Purpose::Probe).unwrap();
    bench.now -= 30 * 24 * 60 * MINUTE;
    let longest = 10 * MINUTE + 2 * MINUTE;
    let (reason, wait) = bench.refusal();
    assert!(reason == Reason::Throttle && wait <= 15 * MINUTE, "{reason:?} {wait}");
    bench.now += 15 * MINUTE;
    let closed = bench.state.closed(&bench.options, bench.now).unwrap();
    assert!(ms(closed.wait) <= longest, "{closed:?}");
    bench.ask(Purpose::Probe).expect("a probe");
}

#[test]
fn the_state_is_text_that_a_person_can_read_and_grows_no_further() {
    let mut bench = opened();
    bench.job().unwrap_err();
    let text = serde_json::to_string(&bench.state).unwrap();
    let expected = r#"{"breaker":{"phase":"open","since":1800000000000,"reason":"3 timeouts in a row","probe_at":1800000060000,"successes":0,"timeouts_in_row":3},"window":[{"failed":"timeout","ms":1000},{"failed":"timeout","ms":1000},{"failed":"timeout","ms":1000}],"budget":{"tokens":0,"refilled_at":0},"throttle":{"until":0,"in_row":0},"running":{},"tally":{"calls":{"success":0,"timeout":3,"quota":0,"server":0,"client":0,"unknown":0,"ours":0},"probes_succeeded":0,"probes_failed":0,"open_ms":0,"opened_at":1800000000000,"minutes":[{"at":30000000,"calls":3,"timeouts":3}]}}"#;
    assert_eq!(text, expected);
    assert_eq!(serde_json::from_str::<GuardState>(&text).unwrap(), bench.state);
    assert_eq!(serde_json::from_str::<GuardState>("{}").unwrap(), GuardState::default());
}

#[test]
fn the_time_it_was_open_is_counted_over_all_openings_and_while_it_lasts() {
    let mut bench = opened();
    let open_s = |bench: &Bench| bench.state.look(&bench.options, bench.now).open_total.as_secs();
    assert_eq!(open_s(&bench), 0);
    // A written state of before there was a tally has the breaker's own moment.
    bench.state.tally = Tally::default();
    bench.now += 10 * SECOND;
    assert_eq!(open_s(&bench), 10);
    for minute in 1..=3 {
        bench.now = START + minute * MINUTE;
        bench.run(Purpose::Probe, &ok());
    }
    assert_eq!((bench.phase(), open_s(&bench)), (Phase::Closed, 180));
    bench.now += 5 * MINUTE;
    assert_eq!(open_s(&bench), 180, "it went on counting");
    bench.run(Purpose::Job, &code(ErrorCode::AuthError));
    bench.now += 7 * SECOND;
    assert_eq!(open_s(&bench), 187);
    let look = bench.state.look(&bench.options, bench.now);
    assert_eq!((look.open_for, look.tally.probes_succeeded), (Some(Duration::from_secs(7)), 3));
    bench.now = START;
    assert!(open_s(&bench) <= 187, "a clock that went back made it longer");
}

#[test]
fn calls_are_counted_by_outcome_and_those_of_a_quarter_of_an_hour_apart() {
    let mut bench = Bench::unlimited();
    bench.runs([ok(), ok(), code(ErrorCode::Timeout), Outcome::Unsaid]);
    bench.now += 14 * MINUTE;
    bench.runs([code(ErrorCode::Permanent)]);
    let recent = |bench: &Bench| {
        let recent = bench.state.look(&bench.options, bench.now).recent;
        (recent.calls, recent.timeouts)
    };
    assert_eq!(recent(&bench), (4, 1));
    bench.now += MINUTE;
    assert_eq!(recent(&bench), (1, 0));
    let calls = bench.state.tally.calls;
    assert_eq!((calls.success, calls.timeout, calls.client, calls.server), (2, 1, 1, 0));
    for _ in 0..100 {
        bench.now += MINUTE;
        bench.runs([ok()]);
    }
    assert_eq!(recent(&bench), (15, 0));
    let kept = serde_json::to_value(&bench.state.tally).unwrap();
    assert_eq!(kept["minutes"].as_array().unwrap().len(), 15, "it grows");
}

#[test]
fn options_that_no_guard_can_work_with_are_refused_by_name() {
    let refused = |change: fn(&mut GuardOptions), word: &str| {
        let mut options = GuardOptions::paid();
        options.check().unwrap();
        change(&mut options);
        let text = options.check().unwrap_err();
        assert!(text.contains(word), "{text}");
    };
    refused(|o| o.timeout.floor = Duration::from_secs(91), "91s");
    refused(|o| o.concurrency = 0, "concurrency 0");
    refused(|o| o.breaker.window = 4, "window 4");
    refused(|o| o.breaker.rate = 1.5, "rate 1.5");
    refused(|o| o.breaker.successes = 0, "successes");
    refused(|o| o.breaker.probe_every = Duration::ZERO, "no time");
    refused(|o| o.breaker.weights.quota = 2.0, "weights");
    refused(|o| o.throttle.base = Duration::from_secs(901), "901s");
    refused(
        |o| o.budget = Some(BudgetOptions { capacity: 0, every: Duration::MAX }),
        "budget of 0",
    );
}

/// What a random user of the guard does.
#[derive(Debug, Clone)]
enum Step {
    Ask(Purpose),
    /// Ends the n-th of the permits that are held.
    Settle(usize, Outcome),
    GiveBack(usize),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let outcome = prop_oneof![
        4 => (0..120_000_u64).prop_map(took),
        1 => Just(Outcome::Unsaid),
        6 => (0..6_usize, prop::option::of(0..2_000_u64)).prop_map(|(n, after)| {
            let mut failure = Failure::new(ErrorCode::ALL[n], "x");
            failure.retry_after = after.map(Duration::from_secs);
            failed(failure)
        }),
    ];
    prop_oneof![
        6 => Just(Step::Ask(Purpose::Job)),
        2 => Just(Step::Ask(Purpose::Probe)),
        4 => (0..8_usize, outcome).prop_map(|(n, outcome)| Step::Settle(n, outcome)),
        2 => (0..8_usize).prop_map(Step::GiveBack),
        4 => prop_oneof![0..2_000_u64, 0..130_000_u64].prop_map(Step::Pass),
    ]
}

proptest! {
    #[test]
    fn limit_rate_and_breaker_hold_whatever_is_done(
        steps in prop::collection::vec(step(), 1..200),
        concurrency in 1..4_u32,
        capacity in 1..5_u32,
        every_s in 1..90_u64,
    ) {
        let every = Duration::from_secs(every_s);
        let budget = Some(BudgetOptions { capacity, every });
        let mut bench = Bench::new(GuardOptions { concurrency, budget, ..GuardOptions::paid() });
        let mut held: VecDeque<(String, u64)> = VecDeque::new();
        let mut spent: BTreeMap<String, u64> = BTreeMap::new();
        let mut probed_at = None;
        for step in steps {
            let before = bench.state.clone();
            match step {
                Step::Ask(purpose) => match bench.ask(purpose) {
                    Ok((holder, granted)) => {
                        let lapses = bench.now + ms(granted.timeout + options::PERMIT_SLACK);
                        prop_assert!((45..=90).contains(&granted.timeout.as_secs()));
                        prop_assert!(bench.now >= before.throttle.until, "a grant while throttled");
                        match purpose {
                            Purpose::Job => prop_assert_eq!(before.breaker.phase, Phase::Closed),
                            Purpose::Probe => {
                                prop_assert_eq!(bench.phase(), Phase::HalfOpen);
                                let since = probed_at.map_or(u64::MAX, |at| bench.now - at);
                                prop_assert!(since >= MINUTE, "two probes within {} ms", since);
                                probed_at = Some(bench.now);
                            }
                        }
                        spent.insert(holder.clone(), bench.now);
                        held.push_back((holder, lapses));
                    }
                    Err(_) => prop_assert_eq!(&before, &bench.state, "a refusal changed something"),
                },
                Step::Settle(n, outcome) => {
                    if let Some((holder, _)) = held.remove(n) {
                        bench.settle(&holder, &outcome);
                        prop_assert!(!bench.state.running.has(&holder));
                    }
                }
                Step::GiveBack(n) => {
                    if let Some((holder, lapses)) = held.remove(n) {
                        bench.state.give_back(&bench.options, &holder, bench.now);
                        if bench.now < lapses {
                            spent.remove(&holder);
                        }
                    }
                }
                Step::Pass(ms) => bench.now += ms,
            }
            let alive = held.iter().filter(|(_, lapses)| *lapses > bench.now).count();
            prop_assert!(alive <= concurrency as usize, "{} permits at once", alive);
            prop_assert!(bench.state.window.len() <= 30 && bench.state.budget.tokens <= capacity);
        }
        let mut moments: Vec<u64> = spent.into_values().collect();
        moments.sort_unstable();
        for (first, from) in moments.iter().enumerate() {
            for (last, to) in moments.iter().enumerate().skip(first) {
                // One more than the rate, for a token that was waiting with its taker.
                let most = u64::from(capacity) + (to - from) / ms(every) + 1;
                let calls = (last + 1 - first) as u64;
                prop_assert!(calls <= most, "{} calls", calls);
            }
        }
    }

    #[test]
    fn whatever_the_clock_did_a_well_provider_is_asked_again_within_the_hour(
        steps in prop::collection::vec((step(), -10_000_000_i64..10_000_000), 1..60),
    ) {
        let mut bench = Bench::new(GuardOptions::paid());
        let mut held = VecDeque::new();
        for (step, jump) in steps {
            match step {
                Step::Ask(purpose) => held.extend(bench.ask(purpose).map(|(holder, _)| holder)),
                Step::Settle(n, outcome) => {
                    if let Some(holder) = held.remove(n) {
                        bench.settle(&holder, &outcome);
                    }
                }
                Step::GiveBack(_) | Step::Pass(_) => {
                    bench.now = bench.now.saturating_add_signed(jump);
                }
            }
        }
        let asked_at = bench.now;
        while bench.job().is_err() {
            if let Ok((probe, _)) = bench.ask(Purpose::Probe) {
                bench.settle(&probe, &ok());
            }
            bench.now += SECOND;
            prop_assert!(bench.now - asked_at < 60 * MINUTE, "{:?}", bench.state);
        }
    }
}
