data "google_compute_network" "network" {
  name = var.network
}

data "google_compute_subnetwork" "subnetwork" {
  name   = var.subnetwork
  region = var.region
}

# A passthrough load balancer keeps the clients' addresses, so clients are admitted by theirs.
resource "google_compute_firewall" "clients" {
  name                    = "${var.name}-clients"
  network                 = data.google_compute_network.network.id
  source_ranges           = var.client_ranges
  target_service_accounts = [google_service_account.proxy.email]

  allow {
    protocol = "tcp"
    ports    = [tostring(var.port)]
  }
}

# Where Google's health checks come from: https://cloud.google.com/load-balancing/docs/health-check-concepts#ip-ranges
resource "google_compute_firewall" "health_checks" {
  name                    = "${var.name}-health-checks"
  network                 = data.google_compute_network.network.id
  source_ranges           = ["35.191.0.0/16", "130.211.0.0/22"]
  target_service_accounts = [google_service_account.proxy.email]

  allow {
    protocol = "tcp"
    ports    = [tostring(local.metrics_port)]
  }
}
