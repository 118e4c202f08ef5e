# The story as HCL: a Redis behind two peerings, why it cannot be reached, and the proxy that gets there.
#
#   vpc-1 10.1.0.0/16 ==peering== vpc-2 10.2.0.0/16 ==automatic peering== redis-1
#     vm-1                          vm-2, redis-proxy
#
# The two projects are there already: the provider asks Cloud Billing about a google_project of its own.

locals {
  p1 = "project-i-1"
  p2 = "project-i-2"
}

data "google_compute_image" "debian" {
  project = "debian-cloud"
  family  = "debian-12"
}

resource "google_project_service" "compute" {
  for_each           = toset([local.p1, local.p2])
  project            = each.value
  service            = "compute.googleapis.com"
  disable_on_destroy = false
}

resource "google_project_service" "redis" {
  project            = local.p2
  service            = "redis.googleapis.com"
  disable_on_destroy = true
}

resource "google_compute_network" "vpc_1" {
  project                 = local.p1
  name                    = "vpc-1"
  description             = "The network of those who ask"
  auto_create_subnetworks = false
  routing_mode            = var.routing_mode
  depends_on              = [google_project_service.compute]
}

resource "google_compute_network" "vpc_2" {
  project                 = local.p2
  name                    = "vpc-2"
  auto_create_subnetworks = false
  mtu                     = 1460
  depends_on              = [google_project_service.compute]
}

resource "google_compute_subnetwork" "subnet_1" {
  project                  = local.p1
  name                     = "subnet-1"
  region                   = var.region
  network                  = google_compute_network.vpc_1.id
  ip_cidr_range            = var.subnet_1_range
  private_ip_google_access = var.private_ip_google_access
}

resource "google_compute_subnetwork" "subnet_2" {
  project       = local.p2
  name          = "subnet-2"
  description   = "Beside the Redis instance"
  region        = var.region
  network       = google_compute_network.vpc_2.id
  ip_cidr_range = "10.2.0.0/16"

  secondary_ip_range {
    range_name    = "more"
    ip_cidr_range = "10.8.0.0/20"
  }
}

resource "google_compute_address" "vm_2" {
  project      = local.p2
  name         = "vm-2"
  description  = "Where vm-1 looks for vm-2"
  region       = var.region
  address_type = "INTERNAL"
  subnetwork   = google_compute_subnetwork.subnet_2.id
  address      = "10.2.0.2"
  labels       = var.labels
}

resource "google_compute_address" "vm_1" {
  project    = local.p1
  name       = "vm-1"
  region     = var.region
  depends_on = [google_project_service.compute]
}

resource "google_compute_global_address" "managed" {
  project       = local.p2
  name          = "managed"
  purpose       = "VPC_PEERING"
  address_type  = "INTERNAL"
  address       = "10.60.0.0"
  prefix_length = 20
  network       = google_compute_network.vpc_2.id
}

resource "google_compute_firewall" "ssh" {
  for_each      = { (local.p1) = google_compute_network.vpc_1, (local.p2) = google_compute_network.vpc_2 }
  project       = each.key
  name          = "${each.value.name}-allow-ssh"
  network       = each.value.name
  source_ranges = ["0.0.0.0/0"]

  allow {
    protocol = "tcp"
    ports    = ["22"]
  }
}

resource "google_compute_firewall" "internal" {
  project       = local.p2
  name          = "vpc-2-allow-internal"
  description   = var.internal_description
  network       = google_compute_network.vpc_2.self_link
  source_ranges = var.internal_sources
  target_tags   = ["internal"]

  allow {
    protocol = "all"
  }
}

resource "google_compute_firewall" "no_mail" {
  project            = local.p1
  name               = "vpc-1-no-mail"
  network            = google_compute_network.vpc_1.id
  direction          = "EGRESS"
  priority           = 900
  destination_ranges = ["0.0.0.0/0"]

  deny {
    protocol = "tcp"
    ports    = ["25", "465-587"]
  }
}

resource "google_compute_network_peering" "vpc_1_to_vpc_2" {
  name         = "vpc-1-to-vpc-2"
  network      = google_compute_network.vpc_1.self_link
  peer_network = google_compute_network.vpc_2.self_link
}

resource "google_compute_network_peering" "vpc_2_to_vpc_1" {
  name         = "vpc-2-to-vpc-1"
  network      = google_compute_network.vpc_2.self_link
  peer_network = google_compute_network.vpc_1.self_link
  # The second of the two is ACTIVE from its beginning.
  depends_on = [google_compute_network_peering.vpc_1_to_vpc_2]
}

# The first free address, an image by the name of its family, and a reserved external address.
resource "google_compute_instance" "vm_1" {
  project      = local.p1
  name         = "vm-1"
  zone         = var.zone
  machine_type = "e2-micro"
  labels       = var.labels

  boot_disk {
    initialize_params {
      image = "debian-12"
    }
  }

  network_interface {
    subnetwork = google_compute_subnetwork.subnet_1.id

    access_config {
      nat_ip = google_compute_address.vm_1.address
    }
  }
}

resource "google_compute_instance" "vm_2" {
  project      = local.p2
  name         = "vm-2"
  zone         = var.zone
  machine_type = "e2-micro"
  tags         = var.vm_2_tags

  boot_disk {
    initialize_params {
      image = "debian-cloud/debian-12"
      size  = 20
      type  = "pd-balanced"
    }
  }

  service_account {
    scopes = ["cloud-platform"]
  }

  scheduling {
    automatic_restart   = false
    on_host_maintenance = "TERMINATE"
  }

  network_interface {
    subnetwork = google_compute_subnetwork.subnet_2.id
    network_ip = google_compute_address.vm_2.address

    alias_ip_range {
      ip_cidr_range         = "10.8.0.16/28"
      subnetwork_range_name = "more"
    }
  }
}

resource "google_redis_instance" "redis_1" {
  project             = local.p2
  name                = "redis-1"
  region              = var.region
  display_name        = var.redis_display_name
  labels              = var.labels
  tier                = "BASIC"
  memory_size_gb      = 1
  authorized_network  = google_compute_network.vpc_2.id
  reserved_ip_range   = "10.34.175.88/29"
  redis_configs       = { maxmemory-policy = var.maxmemory_policy }
  deletion_protection = false
  depends_on          = [google_project_service.redis]
}

resource "google_compute_instance" "redis_proxy" {
  project                   = local.p2
  name                      = "redis-proxy"
  zone                      = var.zone
  machine_type              = var.proxy_machine_type
  tags                      = ["internal"]
  can_ip_forward            = true
  desired_status            = var.proxy_status
  allow_stopping_for_update = true
  metadata                  = { enable-oslogin = "FALSE" }

  boot_disk {
    initialize_params {
      image = data.google_compute_image.debian.self_link
    }
  }

  network_interface {
    subnetwork = google_compute_subnetwork.subnet_2.id
    network_ip = "10.2.0.3"

    access_config {}
  }

  metadata_startup_script = <<-END
    #!/bin/sh
    cat >/etc/nutcracker.yaml <<YAML
    redis-1:
      listen: 0.0.0.0:6379
      redis: true
      servers:
        - ${google_redis_instance.redis_1.host}:${google_redis_instance.redis_1.port}:1
    YAML
    exec tombolo-proxy --conf-file /etc/nutcracker.yaml
  END
}

resource "google_compute_route" "by_the_proxy" {
  project                = local.p2
  name                   = "by-the-proxy"
  description            = "What nobody else knows"
  network                = google_compute_network.vpc_2.name
  dest_range             = "192.0.2.0/24"
  priority               = 500
  next_hop_instance      = google_compute_instance.redis_proxy.name
  next_hop_instance_zone = google_compute_instance.redis_proxy.zone
}

output "redis_host" {
  value = google_redis_instance.redis_1.host
}

output "vm_1_address" {
  value = google_compute_instance.vm_1.network_interface[0].network_ip
}

output "peering_state" {
  value = google_compute_network_peering.vpc_2_to_vpc_1.state
}
