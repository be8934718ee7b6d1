pub struct Demo;
impl Demo {
    pub fn base_url(&self) -> String {
        String::new()
    }
    pub async fn run(self) -> std::io::Result<()> {
        std::future::pending().await
    }
}
pub fn start(_: std::net::SocketAddr) -> std::io::Result<Demo> {
    Ok(Demo)
}
