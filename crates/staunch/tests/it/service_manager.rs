//! A service manager that is told how the server is, as systemd is by sd_notify(3).

use std::os::unix::net::UnixDatagram;

use nix::sys::signal::Signal;

use crate::harness::{DEADLINE, Home, SMALL, in_namespace};

#[test]
fn a_service_manager_is_told_that_the_server_is_ready_lives_and_stops() {
    in_namespace("service_manager::told", || {
        let home = Home::new(SMALL);
        let path = home.path("notify.sock");
        let manager = UnixDatagram::bind(&path).expect("it is our directory");
        manager.set_read_timeout(Some(DEADLINE)).expect("it is no zero");
        let told = || {
            let mut text = [0; 256];
            let length = manager.recv(&mut text).expect("it is told in time");
            String::from_utf8_lossy(&text[..length]).into_owned()
        };
        let environment = vec![
            ("NOTIFY_SOCKET", path.into_os_string()),
            ("WATCHDOG_USEC", "100000".into()),
        ];
        let home = home.with_environment(environment);
        let server = home.serve();
        assert_eq!(told(), "READY=1");
        for _ in 0..3 {
            assert_eq!(told(), "WATCHDOG=1");
        }
        server.signal(Signal::SIGTERM);
        let last = std::iter::repeat_with(told).find(|it| it != "WATCHDOG=1");
        assert_eq!(last.as_deref(), Some("STOPPING=1"));
        assert_eq!(server.wait(), Some(0));
        assert!(
            !home.log().contains("the service manager is not told"),
            "{}",
            home.log()
        );
    });
}
