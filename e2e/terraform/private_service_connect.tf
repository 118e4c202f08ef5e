# The proxy again, without a route to it: published by Private Service Connect, and an endpoint in vpc-1.
#
#   vm-1 ──▶ endpoint 10.1.0.9 (vpc-1) ──▶ redis (service attachment) ──▶ redis-rule (vpc-2) ──▶ redis-proxy

resource "google_compute_subnetwork" "nat" {
  project       = local.p2
  name          = "nat"
  region        = var.region
  network       = google_compute_network.vpc_2.id
  ip_cidr_range = "10.9.0.0/24"
  purpose       = "PRIVATE_SERVICE_CONNECT"
}

resource "google_compute_target_instance" "redis" {
  project  = local.p2
  name     = "redis"
  zone     = var.zone
  instance = google_compute_instance.redis_proxy.id
}

resource "google_compute_forwarding_rule" "redis" {
  project               = local.p2
  name                  = "redis-rule"
  description           = "In front of the proxy"
  region                = var.region
  load_balancing_scheme = "INTERNAL"
  ip_protocol           = "TCP"
  ports                 = ["6379"]
  target                = google_compute_target_instance.redis.self_link
  network               = google_compute_network.vpc_2.id
  subnetwork            = google_compute_subnetwork.subnet_2.id
}

resource "google_compute_service_attachment" "redis" {
  project               = local.p2
  name                  = "redis"
  region                = var.region
  connection_preference = "ACCEPT_MANUAL"
  enable_proxy_protocol = false
  nat_subnets           = [google_compute_subnetwork.nat.id]
  target_service        = google_compute_forwarding_rule.redis.id

  consumer_accept_lists {
    project_id_or_num = local.p1
    connection_limit  = var.consumer_limit
  }
}

resource "google_compute_address" "endpoint" {
  project      = local.p1
  name         = "endpoint"
  region       = var.region
  address_type = "INTERNAL"
  subnetwork   = google_compute_subnetwork.subnet_1.id
  address      = "10.1.0.9"
}

resource "google_compute_forwarding_rule" "endpoint" {
  project               = local.p1
  name                  = "endpoint"
  region                = var.region
  load_balancing_scheme = ""
  target                = google_compute_service_attachment.redis.id
  network               = google_compute_network.vpc_1.id
  ip_address            = google_compute_address.endpoint.id
  labels                = var.labels
}
