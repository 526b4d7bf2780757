//! `-it` on a real pseudo terminal: typing, echo, window size, ctrl-c, detaching, and exit codes.

use testkit::World;
use testkit::pty::Terminal;

use crate::client::{Client, with_both_clients, world_with_busybox};

with_both_clients!(run_it_is_a_terminal, exec_it_is_a_terminal, detach_keys_leave_the_container_running);

fn open(client: Client, world: &World, args: &[&str]) -> Terminal {
    let mut command = client.command(world);
    command.args(args);
    Terminal::spawn(&command, 31, 97)
}

fn run_it_is_a_terminal(client: Client) {
    let world = world_with_busybox();
    let before = world.census();
    let mut terminal = open(client, &world, &["run", "-it", "--rm", "busybox", "sh"]);
    terminal.expect("# ");
    terminal.type_in("tty; stty size\n");
    terminal.expect("/dev/pts/0");
    terminal.expect("31 97");
    terminal.resize(40, 120);
    // The new size arrives by way of the client's SIGWINCH.
    for _ in 0..40 {
        terminal.type_in("stty size\n");
        std::thread::sleep(std::time::Duration::from_millis(50));
        if terminal.screen().contains("40 120") {
            break;
        }
    }
    terminal.expect("40 120");
    terminal.type_in("sleep 1000\n");
    std::thread::sleep(std::time::Duration::from_millis(300));
    terminal.type_in("\u{3}");
    terminal.type_in("echo interrupted=$?\n");
    terminal.expect("interrupted=130");
    terminal.type_in("exit 7\n");
    assert_eq!(terminal.wait().code(), Some(7), "{}", terminal.screen());
    world.assert_nothing_left(&before);
}

fn exec_it_is_a_terminal(client: Client) {
    let world = world_with_busybox();
    let before = world.census();
    client.line(&world, "run -d --name box busybox sleep 1000").ok();
    let mut terminal = open(client, &world, &["exec", "-it", "-e", "WHO=me", "box", "sh"]);
    terminal.expect("# ");
    terminal.type_in("echo I am $WHO; stty size; exit 9\n");
    terminal.expect("I am me");
    terminal.expect("31 97");
    assert_eq!(terminal.wait().code(), Some(9), "{}", terminal.screen());
    client.line(&world, "rm -f box").ok();
    world.assert_nothing_left(&before);
}

fn detach_keys_leave_the_container_running(client: Client) {
    let world = world_with_busybox();
    let before = world.census();
    let mut terminal = open(client, &world, &["run", "-it", "--name", "box", "busybox", "sh"]);
    terminal.expect("# ");
    terminal.type_in("\u{10}\u{11}");
    assert_eq!(terminal.wait().code(), Some(0), "{}", terminal.screen());
    assert_eq!(client.args(&world, &["ps", "--format", "{{.Names}}"]).ok(), "box");

    let mut again = open(client, &world, &["attach", "box"]);
    std::thread::sleep(std::time::Duration::from_millis(300));
    again.type_in("echo back again\n");
    again.expect("\nback again");
    again.type_in("exit 4\n");
    assert_eq!(again.wait().code(), Some(4), "{}", again.screen());
    client.line(&world, "rm box").ok();
    world.assert_nothing_left(&before);
}
