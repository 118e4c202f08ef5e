# The Redis: encrypted, with a password, in a hidden network that only var.network is peered with.
resource "google_redis_instance" "redis" {
  name                    = "${var.name}-redis"
  region                  = var.region
  tier                    = "STANDARD_HA"
  memory_size_gb          = var.memory_gb
  redis_version           = "REDIS_7_0"
  authorized_network      = data.google_compute_network.network.id
  auth_enabled            = true
  transit_encryption_mode = "SERVER_AUTHENTICATION"
}

# The password reaches the proxies through Secret Manager, never through metadata, which every process of a VM can read.
resource "google_secret_manager_secret" "password" {
  secret_id = "${var.name}-redis-auth"

  replication {
    auto {}
  }
}

resource "google_secret_manager_secret_version" "password" {
  secret      = google_secret_manager_secret.password.id
  secret_data = google_redis_instance.redis.auth_string
}
