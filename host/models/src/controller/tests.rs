//! Tests on a simulated clock, and of who waits.

use std::{cmp::Reverse, collections::BinaryHeap};

use super::*;

const MINUTE: Duration = Duration::from_mins(1);
const UNSTATED: Limits = Limits { requests_per_minute: None, tokens_per_minute: None, in_flight: Some(64) };

fn limits(requests: u64, tokens: u64, in_flight: u32) -> Limits {
    Limits { requests_per_minute: Some(requests), tokens_per_minute: Some(tokens), in_flight: Some(in_flight) }
}

/// The most within any minute.
fn densest(sent: &[(Duration, u64)]) -> u64 {
    let (mut most, mut sum, mut from) = (0, 0, 0);
    for (at, amount) in sent {
        sum += amount;
        while sent[from].0 + MINUTE <= *at {
            sum -= sent[from].1;
            from += 1;
        }
        most = most.max(sum);
    }
    most
}

/// Sends for so long as fast as it may, with answers after 0.5 to 3.5 s. `tokens` says what a request reserves and what it uses. Gives
/// when what was reserved.
fn send(state: &mut State, from: Duration, long: Duration, tokens: impl Fn(u64) -> (u64, u64)) -> Vec<(Duration, u64)> {
    let (mut now, mut sent, mut flying) =
        (from, Vec::new(), BinaryHeap::<Reverse<(Duration, Duration, u64, u64)>>::new());
    while now < from + long {
        while let Some(Reverse((end, at, reserved, used))) =
            flying.peek().copied().filter(|Reverse((end, ..))| *end <= now)
        {
            flying.pop();
            state.ended(at, reserved, Ended::Answered(Some(used)), Told::default(), end);
        }
        let number = sent.len() as u64;
        let (reserved, used) = tokens(number);
        match state.admit(reserved, now).expect("a minute has more") {
            None => {
                sent.push((now, reserved));
                flying.push(Reverse((now + Duration::from_millis(500 + number * 7919 % 3000), now, reserved, used)));
            }
            Some(wait) => now = flying.peek().map_or(now + wait, |Reverse((end, ..))| (*end).min(now + wait)),
        }
    }
    sent
}

fn requests(sent: &[(Duration, u64)]) -> Vec<(Duration, u64)> {
    sent.iter().map(|(at, _)| (*at, 1)).collect()
}

#[test]
fn an_hour_uses_what_is_allowed_and_no_minute_has_more() {
    // Requests are what is short, ...
    let mut state = State::new(limits(600, 60_000, 64));
    let sent = send(&mut state, Duration::ZERO, MINUTE * 60, |number| (40 + number % 41, 40 + number % 41));
    assert!(sent.len() as f64 >= 0.97 * 36_000.0, "{}", sent.len());
    assert!(densest(&requests(&sent)) <= 600, "{}", densest(&requests(&sent)));
    // ... and tokens are.
    let mut state = State::new(limits(600, 60_000, 64));
    let sent =
        send(&mut state, Duration::ZERO, MINUTE * 60, |number| (50 + number * 7919 % 400, 50 + number * 7919 % 400));
    let total: u64 = sent.iter().map(|(_, tokens)| tokens).sum();
    assert!(total as f64 >= 0.97 * 3_600_000.0, "{total}");
    assert!(densest(&sent) <= 60_000, "{}", densest(&sent));
}

#[test]
fn what_was_reserved_and_not_used_is_there_for_others() {
    let mut state = State::new(limits(6_000, 60_000, 64));
    let sent = send(&mut state, Duration::ZERO, MINUTE * 10, |_| (400, 100));
    // A minute has 600 by what they use, and 150 by what they reserve.
    assert!(sent.len() > 5_000, "{}", sent.len());
}

#[test]
fn many_refusals_of_one_load_halve_it_once() {
    let mut state = State::new(UNSTATED);
    let (start, soon) = (Duration::ZERO, Duration::from_millis(10));
    (0..64).for_each(|_| assert_eq!(state.admit(1, start), Ok(None)));
    assert!(matches!(state.admit(1, start), Ok(Some(_))), "64 are under way");
    let wait = Told { retry_after: Some(Duration::from_secs(7)), ..Told::default() };
    (0..64).for_each(|_| state.ended(start, 1, Ended::Refused, wait, soon));
    assert_eq!((state.may, state.flying), (32.0, 0));
    assert_eq!(state.admit(1, soon), Ok(Some(Duration::from_secs(7))));
    // Who doesn't say how long to wait isn't asked for a second, after a second refusal for two.
    let mut now = soon + Duration::from_secs(7);
    for (seconds, may) in [(2, 16.0), (4, 8.0), (8, 4.0), (16, 2.0), (32, 1.0), (60, 1.0), (60, 1.0)] {
        assert_eq!(state.admit(1, now), Ok(None));
        state.ended(now, 1, Ended::Refused, Told::default(), now);
        assert_eq!((state.may, state.admit(1, now)), (may, Ok(Some(Duration::from_secs(seconds)))));
        now += Duration::from_secs(seconds);
    }
    // It grows by one a round.
    let mut rounds = 0;
    while state.may < 8.0 {
        let many = state.may as u32;
        (0..many).for_each(|_| assert_eq!(state.admit(1, now), Ok(None)));
        (0..many).for_each(|_| state.ended(now, 1, Ended::Answered(None), Told::default(), now));
        rounds += 1;
    }
    assert!((7..=9).contains(&rounds), "{rounds}");
}

#[test]
fn who_refuses_and_says_that_nobody_has_to_wait_is_asked_less_and_less() {
    let mut state = State::new(UNSTATED);
    let (mut now, told) = (MINUTE, Told { retry_after: Some(Duration::ZERO), ..Told::default() });
    for millis in [50, 100, 200, 400] {
        assert_eq!(state.admit(1, now), Ok(None));
        state.ended(now, 1, Ended::Refused, told, now);
        assert_eq!(state.admit(1, now), Ok(Some(Duration::from_millis(millis))));
        now += Duration::from_millis(millis);
    }
}

#[test]
fn failures_halve_and_do_not_wait() {
    let mut state = State::new(UNSTATED);
    assert_eq!(state.admit(1, MINUTE), Ok(None));
    state.ended(MINUTE, 1, Ended::Failed, Told::default(), MINUTE);
    assert_eq!((state.may, state.admit(1, MINUTE)), (32.0, Ok(None)));
}

#[test]
fn a_limit_that_is_told_holds_from_then_on() {
    let mut state = State::new(UNSTATED);
    assert_eq!(state.admit(1, Duration::ZERO), Ok(None));
    let told = Told { requests_per_minute: Some(60), ..Told::default() };
    state.ended(Duration::ZERO, 1, Ended::Refused, told, Duration::ZERO);
    let sent = send(&mut state, Duration::ZERO, MINUTE * 5, |_| (1, 1));
    assert!((290..=300).contains(&sent.len()), "{}", sent.len());
    assert!(densest(&requests(&sent)) <= 60);
    // None is left for a while: it waits until there are some again.
    let (now, told) = (MINUTE * 10, Told { exhausted_for: Some(Duration::from_secs(20)), ..Told::default() });
    assert_eq!(state.admit(1, now), Ok(None));
    state.ended(now, 1, Ended::Answered(None), told, now);
    assert_eq!(state.admit(1, now), Ok(Some(Duration::from_secs(20))));
}

#[test]
fn a_limit_that_was_told_low_rises_when_more_is_told_and_never_above_what_is_stated() {
    let (mut state, mut now) = (State::new(limits(600, 60_000, 64)), MINUTE);
    for (told, holds) in [(60, 60), (300, 300), (6_000, 600)] {
        now += MINUTE;
        assert_eq!(state.admit(1, now), Ok(None));
        let told = Told { requests_per_minute: Some(told), ..Told::default() };
        state.ended(now, 1, Ended::Answered(Some(1)), told, now);
        assert_eq!(state.requests.per_minute(), Some(holds));
    }
    // All of it is used again, and no minute has more.
    let sent = send(&mut state, now, MINUTE * 5, |_| (1, 1));
    assert!((2_900..=3_000).contains(&sent.len()), "{}", sent.len());
    assert!(densest(&requests(&sent)) <= 600);
}

#[test]
fn a_limit_that_only_a_refusal_told_grows_back_while_nothing_is_refused() {
    let mut state = State::new(Limits { requests_per_minute: Some(80), ..UNSTATED });
    let answered = Ended::Answered(None);
    for (second, ended, words, holds) in [
        (60, Ended::Refused, Some(60), 60),
        (100, answered, None, 60),
        (120, answered, None, 66),
        (125, answered, None, 66),
        (180, answered, None, 72),
        (185, Ended::Refused, None, 72),
        (244, answered, None, 72),
        (245, answered, None, 78),
        (600, answered, None, 80),
        (601, Ended::Refused, Some(50), 50),
    ] {
        let now = Duration::from_secs(second);
        assert_eq!(state.admit(1, now), Ok(None), "{second}");
        // A header that says more is about something else: some tell requests a day there.
        let told = Told { requests_per_minute: Some(10_000), refused_requests: words, ..Told::default() };
        state.ended(now, 1, ended, told, now);
        assert_eq!(state.requests.per_minute(), Some(holds), "{second}");
    }
}

#[test]
fn what_no_minute_has_is_refused_at_once() {
    let mut state = State::new(limits(600, 1_000, 8));
    assert_eq!(state.admit(1_001, MINUTE), Err(Refused::TooLarge { tokens: 1_001, most: 1_000 }));
}

#[test]
fn what_is_larger_than_a_header_tells_is_sent_and_may_tell_more() {
    let mut state = State::new(UNSTATED);
    let told = |tokens| Told { tokens_per_minute: Some(tokens), ..Told::default() };
    assert_eq!(state.admit(43, MINUTE), Ok(None));
    state.ended(MINUTE, 43, Ended::Answered(Some(43)), told(20), MINUTE);
    let Ok(Some(wait)) = state.admit(43, MINUTE) else { panic!("the bucket is empty") };
    assert!(wait < Duration::from_secs(4), "{wait:?}");
    let mut now = MINUTE + wait;
    assert_eq!(state.admit(43, now), Ok(None));
    state.ended(now, 43, Ended::Answered(Some(43)), told(1_000_000), now);
    now += Duration::from_secs(1);
    (0..20).for_each(|_| assert_eq!(state.admit(43, now), Ok(None)));
    // What the words of a refusal say is believed.
    state.ended(now, 43, Ended::Refused, Told { refused_tokens: Some(20), ..Told::default() }, now);
    assert_eq!(state.admit(43, now), Err(Refused::TooLarge { tokens: 43, most: 20 }));
}

#[test]
fn of_limits_that_are_stated_twice_the_stricter_ones_hold() {
    let mut state = State::new(Limits { requests_per_minute: Some(60), ..Limits::default() });
    assert_eq!(state.most, 16);
    state.restrict(Limits { in_flight: Some(64), tokens_per_minute: Some(100), ..Limits::default() }, Duration::ZERO);
    assert_eq!((state.most, state.may), (64, 64.0), "nothing was stated before");
    state.restrict(limits(600, 1_000, 8), Duration::ZERO);
    assert_eq!((state.most, state.may), (8, 8.0));
    assert_eq!((state.requests.per_minute(), state.tokens.per_minute()), (Some(60), Some(100)));
}

#[tokio::test]
async fn a_request_that_nobody_waits_for_gives_its_place_back() {
    let controller = Controller::new(Limits { in_flight: Some(1), ..UNSTATED });
    let first = controller.permit(1).await.expect("nothing is stated");
    let mut second = std::pin::pin!(controller.permit(1));
    assert!(tokio::time::timeout(Duration::from_millis(20), &mut second).await.is_err());
    drop(first);
    assert!(second.await.is_ok());
    assert_eq!(controller.in_flight(), (1, 0));
}
