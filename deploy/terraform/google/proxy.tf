locals {
  # Metrics and health: for health checks, and for whoever may reach it.
  metrics_port = 22223

  configuration = templatefile("${path.module}/templates/tombolo-proxy.yml.tftpl", {
    port  = var.port
    redis = "${google_redis_instance.redis.host}:${google_redis_instance.redis.port}"
  })
}

resource "google_service_account" "proxy" {
  account_id   = var.name
  display_name = "tombolo-proxy"
}

resource "google_secret_manager_secret_iam_member" "proxy" {
  secret_id = google_secret_manager_secret.password.id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.proxy.member
}

resource "google_storage_bucket_iam_member" "proxy" {
  bucket = split("/", var.package)[2]
  role   = "roles/storage.objectViewer"
  member = google_service_account.proxy.member
}

data "google_compute_image" "debian" {
  family  = "debian-12"
  project = "debian-cloud"
}

resource "google_compute_region_instance_template" "proxy" {
  name_prefix  = "${var.name}-"
  region       = var.region
  machine_type = var.machine_type

  disk {
    source_image = data.google_compute_image.debian.self_link
    boot         = true
    auto_delete  = true
    disk_size_gb = 10
  }

  # No access_config: no external address.
  network_interface {
    subnetwork = data.google_compute_subnetwork.subnetwork.id
  }

  service_account {
    email  = google_service_account.proxy.email
    scopes = ["cloud-platform"]
  }

  shielded_instance_config {
    enable_secure_boot = true
  }

  metadata = {
    enable-oslogin = "TRUE"
    startup-script = templatefile("${path.module}/templates/startup.sh.tftpl", {
      package        = var.package
      secret         = google_secret_manager_secret.password.id
      secret_version = google_secret_manager_secret_version.password.version
      # Several while a new CA is being introduced.
      ca            = join("\n", [for ca in google_redis_instance.redis.server_ca_certs : trimspace(ca.cert)])
      configuration = local.configuration
      metrics_port  = local.metrics_port
    })
  }

  lifecycle {
    create_before_destroy = true
  }

  depends_on = [google_secret_manager_secret_iam_member.proxy, google_storage_bucket_iam_member.proxy]
}

resource "google_compute_region_instance_group_manager" "proxy" {
  name               = var.name
  region             = var.region
  base_instance_name = var.name
  target_size        = var.proxies

  version {
    instance_template = google_compute_region_instance_template.proxy.id
  }

  auto_healing_policies {
    health_check      = google_compute_region_health_check.alive.id
    initial_delay_sec = 180
  }

  update_policy {
    type           = "PROACTIVE"
    minimal_action = "REPLACE"
    # In a regional group these are 0 or at least the number of its zones.
    max_surge_fixed       = length(data.google_compute_zones.zones.names)
    max_unavailable_fixed = 0
  }
}

data "google_compute_zones" "zones" {
  region = var.region
}
