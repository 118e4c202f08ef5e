# A regional health check and a regional backend: one region, as the Redis.
resource "google_compute_region_health_check" "ready" {
  name                = "${var.name}-ready"
  region              = var.region
  check_interval_sec  = 5
  timeout_sec         = 2
  healthy_threshold   = 2
  unhealthy_threshold = 3

  http_health_check {
    port         = local.metrics_port
    request_path = "/readyz"
  }
}

# A proxy that lets its clients finish is not ready, and yet is not to be replaced.
resource "google_compute_region_health_check" "alive" {
  name                = "${var.name}-alive"
  region              = var.region
  check_interval_sec  = 10
  timeout_sec         = 3
  healthy_threshold   = 1
  unhealthy_threshold = 6

  http_health_check {
    port         = local.metrics_port
    request_path = "/healthz"
  }
}

resource "google_compute_region_backend_service" "proxy" {
  name                            = var.name
  region                          = var.region
  load_balancing_scheme           = "INTERNAL"
  protocol                        = "TCP"
  health_checks                   = [google_compute_region_health_check.ready.id]
  connection_draining_timeout_sec = 30

  backend {
    group          = google_compute_region_instance_group_manager.proxy.instance_group
    balancing_mode = "CONNECTION"
  }
}

resource "google_compute_address" "proxy" {
  name         = var.name
  region       = var.region
  address_type = "INTERNAL"
  purpose      = "GCE_ENDPOINT"
  subnetwork   = data.google_compute_subnetwork.subnetwork.id
}

resource "google_compute_forwarding_rule" "proxy" {
  name                  = var.name
  region                = var.region
  load_balancing_scheme = "INTERNAL"
  ip_protocol           = "TCP"
  ports                 = [tostring(var.port)]
  ip_address            = google_compute_address.proxy.address
  backend_service       = google_compute_region_backend_service.proxy.id
  network               = data.google_compute_network.network.id
  subnetwork            = data.google_compute_subnetwork.subnetwork.id
  # Clients of other regions too.
  allow_global_access = true
}
