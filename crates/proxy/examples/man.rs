//! Writes the man page to the file that is named: `cargo run -p tombolo-proxy --example man -- FILE`.

use clap::CommandFactory;
use tombolo_proxy::cli::Args;

fn main() -> anyhow::Result<()> {
    let Some(path) = std::env::args_os().nth(1) else {
        anyhow::bail!("expected the file to write");
    };
    let mut page = Vec::new();
    clap_mangen::Man::new(Args::command()).render(&mut page)?;
    Ok(std::fs::write(path, page)?)
}
