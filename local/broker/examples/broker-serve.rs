//! Runs a broker until Ctrl-C: `broker-serve DATA_DIR [ADDRESS]`. For clients by hand, and for the test
//! that kills one.

use tickpanda_broker::{Broker, BrokerConfig};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let mut args = std::env::args().skip(1);
    let mut config =
        BrokerConfig::new(args.next().ok_or("usage: broker-serve DATA_DIR [ADDRESS]")?);
    if let Some(addr) = args.next() {
        config.listen = addr.parse()?;
    }
    let broker = Broker::start(config).await?;
    println!("{}", broker.addr());
    tokio::signal::ctrl_c().await?;
    Ok(broker.shutdown().await?)
}
