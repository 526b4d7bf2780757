//! `pod SOCKET IMAGE LOG-DIRECTORY`: runs a pod of two containers through a CRI socket, shows their logs and exit
//! codes, and removes it. It stands for a kubelet on a machine that has none.
#![expect(clippy::print_stdout, reason = "a program whose result is what it prints")]

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use k8s_cri::v1;
use pod::{Error, Kubelet};

/// What the server of the pod shows.
const SERVER: &str =
    "mkdir -p /srv && echo 'hello from the other container' > /srv/index.html && exec httpd -f -p 8080 -h /srv";
/// What the client does: two containers of a pod share their network.
const CLIENT: &str = "sleep 0.3; wget -q -O - http://127.0.0.1:8080/index.html; echo \"I am $(hostname)\"; exit 3";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [socket, image, logs] = args.as_slice() else {
        println!("usage: pod SOCKET IMAGE LOG-DIRECTORY");
        return ExitCode::from(2);
    };
    match demonstrate(Path::new(socket), image, Path::new(logs)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn demonstrate(socket: &Path, image: &str, logs: &Path) -> Result<(), Error> {
    let mut kubelet = Kubelet::connect(socket).await?;
    let version = kubelet.runtime.version(v1::VersionRequest { version: "0.1.0".into() }).await?.into_inner();
    println!("{} {} speaks CRI {}", version.runtime_name, version.runtime_version, version.runtime_api_version);
    let pod = kubelet.run_pod("demo", logs, "").await?;
    let shown = show(&mut kubelet, &pod, image, logs).await;
    // The pod is removed whether the demonstration worked or not.
    kubelet.remove_pod(&pod).await?;
    shown?;
    println!("pod {} removed", short(&pod.id));
    Ok(())
}

async fn show(kubelet: &mut Kubelet, pod: &pod::Pod, image: &str, logs: &Path) -> Result<(), Error> {
    let request = v1::PodSandboxStatusRequest { pod_sandbox_id: pod.id.clone(), verbose: false };
    let status = kubelet.runtime.pod_sandbox_status(request).await?.into_inner().status.unwrap_or_default();
    let address = status.network.map(|n| n.ip).unwrap_or_default();
    println!("pod {} is ready at {address}", short(&pod.id));
    let server = kubelet.start(pod, "server", image, &["sh", "-c", SERVER]).await?;
    let client = kubelet.start(pod, "client", image, &["sh", "-c", CLIENT]).await?;
    println!("containers {} (server) and {} (client) started", short(&server), short(&client));
    let ended = kubelet.wait(&client, Duration::from_secs(20)).await?;
    println!("client exited with {} ({}); its log:", ended.exit_code, ended.reason);
    for line in std::fs::read_to_string(logs.join("client.log"))?.lines() {
        println!("  {line}");
    }
    let (code, out, _) = kubelet.exec(&server, &["ls", "/srv"]).await?;
    println!("ExecSync `ls /srv` in server: exit {code}, {:?}", out.trim());
    Ok(())
}

fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}
