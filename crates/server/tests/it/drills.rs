//! Orders for drills: what begins, and when; what ends; and what the journal says of it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Mutex;
use std::time::Duration;

use staunch_model::{DrillFault, DrillId, Span};
use staunch_server::dto::{Commands, DRILL_LASTS_MAX, DrillStopped, DrillView, Status, path};
use staunch_server::{Drills, HttpLimits};

use super::{Options, Staunch, until};

const LIE: &str = r#"{"fault": "lie", "lasts": "1d", "reason": "a test"}"#;

/// What goes wrong, for nobody.
#[derive(Default)]
pub(crate) struct Faults {
    present: Mutex<Option<(DrillId, DrillFault, Span)>>,
    /// All that ever began.
    begun: Mutex<Vec<DrillId>>,
}

impl Faults {
    fn present(&self) -> Option<(DrillId, DrillFault, Span)> {
        *self.present.lock().expect("no test panics in here")
    }

    fn begun(&self) -> Vec<DrillId> {
        self.begun.lock().expect("no test panics in here").clone()
    }
}

impl Drills for Faults {
    fn view(&self) -> DrillView {
        let present = self.present();
        DrillView {
            scope: vec!["192.0.2.0/28".to_owned()],
            drill: present.map(|it| it.0),
            fault: present.map(|it| it.1),
            left: present.map(|it| it.2),
        }
    }

    fn order(&self, drill: DrillId, fault: DrillFault, lasts: Span) {
        self.begun.lock().expect("no test panics in here").push(drill);
        *self.present.lock().expect("no test panics in here") = Some((drill, fault, lasts));
    }

    fn stop(&self, only: Option<DrillId>) -> Option<(DrillId, DrillFault)> {
        let mut present = self.present.lock().expect("no test panics in here");
        let was = present.take_if(|it| only.is_none_or(|only| only == it.0));
        was.map(|(drill, fault, _)| (drill, fault))
    }
}

/// What operators asked for, oldest first.
fn recorded(staunch: &Staunch) -> Vec<(String, String)> {
    staunch.wait_for_index();
    let commands: Commands = staunch.client().get(path::COMMANDS).json();
    let all = commands.commands.into_iter().rev();
    all.map(|it| (it.command.to_string(), it.reason)).collect()
}

/// A Staunch whose clients do not wait for long.
fn hasty() -> Staunch {
    let http = HttpLimits {
        answer_timeout: Duration::from_millis(100),
        ..HttpLimits::default()
    };
    Staunch::start(Options {
        http,
        ..Options::default()
    })
}

/// Orders a lie: what is under way then.
fn lie(staunch: &Staunch) -> DrillId {
    let view: DrillView = staunch.client().post(path::DRILL, LIE).json();
    assert_eq!(view.fault, Some(DrillFault::Lie));
    view.drill.expect("it has begun")
}

/// The command that ends `drill`, as it is recorded.
fn end_of(drill: DrillId) -> String {
    format!(r#"{{"enddrill":{{"drill":"{drill}"}}}}"#)
}

#[test]
fn nothing_begins_before_it_is_durable_and_an_end_is_at_once() {
    let staunch = Staunch::start(Options::default());
    for (path, body, begins) in [(path::DRILL, LIE, true), (path::DRILL_STOP, "{}", false)] {
        staunch.gate.close();
        let client = staunch.client();
        let order = std::thread::spawn(move || client.post(path, body));
        staunch.gate.wait_for_arrivals(1);
        assert_eq!(staunch.faults.present(), None, "{path}: nothing of it is durable");
        staunch.gate.open();
        let answer = order.join().expect("it was answered");
        assert_eq!(answer.status, 200, "{answer:?}");
        let after = staunch.faults.present();
        let lie = begins.then_some((DrillFault::Lie, DRILL_LASTS_MAX));
        assert_eq!(after.map(|it| (it.1, it.2)), lie, "{path}");
        let status: Status = staunch.client().get(path::STATUS).json();
        assert_eq!(status.drill.map(|it| (it.id, it.fault)), after.map(|it| (it.0, it.1)));
    }
    let again: DrillStopped = staunch.client().post(path::DRILL_STOP, "{}").json();
    assert_eq!((again.ended, again.drill, again.under_way), (None, None, None));
    let [drill] = staunch.faults.begun()[..] else {
        panic!("one has begun");
    };
    let lie = r#"{"drill":{"fault":"lie","lasts":"10m"}}"#.to_owned();
    let expect = [(lie, "a test".to_owned()), (end_of(drill), String::new())];
    assert_eq!(recorded(&staunch), expect);
}

/// The id of an order is where it is in the journal: no other has it, before or after a start.
#[test]
fn an_order_is_known_by_the_position_of_its_frame() {
    let staunch = Staunch::start(Options::default());
    let mut drills = Vec::new();
    for _ in 0..3 {
        let drill = lie(&staunch);
        let view: DrillView = staunch.client().get(path::DRILL).json();
        assert_eq!(view.drill, Some(drill));
        let stopped: DrillStopped = staunch.client().post(path::DRILL_STOP, "{}").json();
        assert_eq!((stopped.ended, stopped.drill), (Some(DrillFault::Lie), Some(drill)));
        drills.push(drill);
    }
    staunch.wait_for_index();
    let commands: Commands = staunch.client().get(path::COMMANDS).json();
    let orders = commands
        .commands
        .iter()
        .rev()
        .filter(|it| it.command.get("drill").is_some());
    assert_eq!(orders.map(|it| DrillId(it.lsn)).collect::<Vec<_>>(), drills);
}

#[test]
fn a_stop_that_names_a_drill_ends_no_other() {
    let staunch = Staunch::start(Options::default());
    let first = lie(&staunch);
    let only = format!(r#"{{"drill": "{first}"}}"#);
    let stopped: DrillStopped = staunch.client().post(path::DRILL_STOP, &only).json();
    assert_eq!((stopped.ended, stopped.drill), (Some(DrillFault::Lie), Some(first)));
    let second = lie(&staunch);
    let stopped: DrillStopped = staunch.client().post(path::DRILL_STOP, &only).json();
    assert_eq!((stopped.ended, stopped.drill), (None, None));
    let goes_on = stopped.under_way.expect("it says what goes on");
    assert_eq!((goes_on.id, goes_on.fault), (second, DrillFault::Lie));
    assert_eq!(staunch.faults.present().map(|it| it.0), Some(second));
    // The order that is turned away is told which is under way.
    let third = staunch.client().post(path::DRILL, LIE).problem(409, "drill-under-way");
    assert!(third.detail.contains(&second.to_string()), "{third:?}");
    assert_eq!(recorded(&staunch).len(), 3, "what has ended nothing is not recorded");
    for bad in [r#"{"drill": 7}"#, r#"{"drill": "TX-7"}"#, r#"{"drill": ""}"#] {
        staunch.client().post(path::DRILL_STOP, bad).problem(400, "malformed");
    }
}

/// Whoever ordered it was told that it does not begin: it does not, whenever its record comes to be durable.
#[test]
fn an_order_that_is_in_doubt_never_begins_and_its_end_is_recorded() {
    let staunch = hasty();
    staunch.gate.close();
    let problem = staunch.client().post(path::DRILL, LIE).problem(503, "in-doubt");
    assert!(problem.detail.contains("does not go on"), "{problem:?}");
    assert!(problem.hint.is_some_and(|it| it.contains("GET /v1/drill")));
    // One that waits for its turn meanwhile is not held up by it, and is answered alike.
    staunch.client().post(path::DRILL, LIE).problem(503, "in-doubt");
    let view: DrillView = staunch.client().get(path::DRILL).json();
    assert_eq!(view.drill, None);
    staunch.gate.open();
    let mut all = Vec::new();
    until("both ends are recorded", || {
        all = recorded(&staunch);
        all.len() == 4
    });
    assert_eq!(staunch.faults.begun(), []);
    staunch.wait_for_index();
    let commands: Commands = staunch.client().get(path::COMMANDS).json();
    for order in commands.commands.iter().filter(|it| it.command.get("drill").is_some()) {
        let end = (
            end_of(DrillId(order.lsn)),
            "nobody waited for the answer to its order any more".to_owned(),
        );
        assert!(all.contains(&end), "{all:?}");
    }
    // The next one is as if nothing had been.
    until("the engine answers in time", || {
        staunch.client().post(path::DRILL, LIE).status == 200
    });
    assert!(staunch.faults.present().is_some());
}

#[test]
fn an_end_whose_record_is_in_doubt_is_an_end() {
    let staunch = hasty();
    let mut drill = None;
    until("the engine answers in time", || {
        let answer = staunch.client().post(path::DRILL, LIE);
        drill = (answer.status == 200)
            .then(|| answer.json::<DrillView>().drill)
            .flatten();
        drill.is_some()
    });
    staunch.gate.close();
    let problem = staunch.client().post(path::DRILL_STOP, "{}").problem(503, "in-doubt");
    let said = format!("{} has ended, and that may not be", drill.expect("it has begun"));
    assert!(problem.detail.starts_with(&said), "{problem:?}");
    assert_eq!(staunch.faults.present(), None);
    staunch.gate.open();
    let end = end_of(drill.expect("it has begun"));
    until("it is recorded", || recorded(&staunch).iter().any(|it| it.0 == end));
}

#[test]
fn what_an_order_begins_that_came_before_a_stop_is_ended_by_it() {
    let staunch = Staunch::start(Options::default());
    staunch.gate.close();
    let client = staunch.client();
    let order = std::thread::spawn(move || client.post(path::DRILL, LIE));
    staunch.gate.wait_for_arrivals(1);
    let client = staunch.client();
    let stop = std::thread::spawn(move || client.post(path::DRILL_STOP, "{}"));
    staunch.gate.open();
    assert_eq!(order.join().expect("it was answered").status, 200);
    let stopped: DrillStopped = stop.join().expect("it was answered").json();
    assert_eq!((stopped.ended, staunch.faults.present()), (Some(DrillFault::Lie), None));
}

/// Sends `body` to `path`, and goes away once the loop stands before the closed gate with it.
fn send_and_go(staunch: &Staunch, path: &str, body: &str) {
    let mut client = TcpStream::connect(staunch.address).expect("it listens");
    let (token, length) = (&staunch.operator, body.len());
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    client.write_all(request.as_bytes()).expect("it reads");
    staunch.gate.wait_for_arrivals(1);
}

/// A connection that has been answered, and stays; `None` when there are too many.
fn connection(staunch: &Staunch) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(staunch.address).expect("it listens");
    // It asks no engine: the loop may stand still.
    let request = format!(
        "GET {} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n\r\n",
        path::DRILL,
        staunch.operator
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).ok()?;
    head.ends_with(b" 200").then_some(stream)
}

/// What has ended is recorded, whether or not anybody waits for the answer.
#[test]
fn an_end_is_recorded_when_its_client_has_gone() {
    let staunch = Staunch::start(Options::default());
    let drill = lie(&staunch);
    staunch.gate.close();
    send_and_go(&staunch, path::DRILL_STOP, "{}");
    assert_eq!(staunch.faults.present(), None);
    staunch.gate.open();
    until("it is recorded", || recorded(&staunch).len() == 2);
    assert_eq!(recorded(&staunch)[1], (end_of(drill), String::new()));
}

/// Nobody is there who would know of it and end it.
#[test]
fn an_order_does_not_begin_when_its_client_has_gone() {
    let http = HttpLimits {
        connections_max: 4,
        ..HttpLimits::default()
    };
    let staunch = Staunch::start(Options {
        http,
        ..Options::default()
    });
    let mut others: Vec<_> = (0..3)
        .map(|_| connection(&staunch).expect("there is a place"))
        .collect();
    staunch.gate.close();
    send_and_go(&staunch, path::DRILL, LIE);
    // Its place is free again when the server has noticed.
    until("a connection is free", || {
        others.extend(connection(&staunch));
        others.len() == 4
    });
    drop(others);
    staunch.gate.open();
    until("there is room again", || connection(&staunch).is_some());
    until("its end is recorded", || recorded(&staunch).len() == 2);
    assert_eq!(staunch.faults.begun(), []);
}

#[test]
fn one_fault_at_a_time_and_none_that_is_not_known() {
    let staunch = Staunch::start(Options::default());
    for (body, says) in [
        (r#"{"lasts": "1m", "reason": "a test"}"#, "missing field `fault`"),
        (
            r#"{"fault": "stall", "lasts": "1m", "reason": "a test"}"#,
            "unknown variant `stall`",
        ),
        (r#"{"fault": "lie", "lasts": "1m", "reason": " "}"#, "`reason` is blank"),
        (r#"{"fault": "lie", "lasts": "1m"}"#, "missing field `reason`"),
    ] {
        let problem = staunch.client().post(path::DRILL, body).problem(400, "malformed");
        assert!(problem.detail.contains(says), "{body}: {problem:?}");
    }
    let blank = staunch.client().post(path::DRILL_STOP, r#"{"reason": "\u200b"}"#);
    assert!(blank.problem(400, "malformed").detail.contains("`reason` is blank"));
    assert_eq!((staunch.faults.present(), recorded(&staunch)), (None, Vec::new()));
    assert_eq!(staunch.client().post(path::DRILL, LIE).status, 200);
    let second = staunch.client().post(path::DRILL, LIE).problem(409, "drill-under-way");
    assert!(
        second.hint.is_some_and(|it| it.contains("staunch drill stop")),
        "{:?}",
        second.detail
    );
    assert_eq!(recorded(&staunch).len(), 1);
}
