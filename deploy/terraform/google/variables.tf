variable "project" {
  description = "Project of everything that is created."
  type        = string
}

variable "region" {
  description = "Region of the proxies and of the Redis."
  type        = string
  default     = "us-central1"
}

variable "network" {
  description = "Name of the network that the Redis is authorized on: vpc-2, say. It is there already."
  type        = string
}

variable "subnetwork" {
  description = "Name of the subnetwork of the proxies, with Private Google Access. It is there already."
  type        = string
}

variable "client_ranges" {
  description = "Ranges whose clients may use the proxies: those of peered networks too."
  type        = list(string)

  validation {
    condition     = length(var.client_ranges) > 0 && alltrue([for range in var.client_ranges : can(cidrhost(range, 0))])
    error_message = "Expected at least one range such as 10.1.0.0/16."
  }
}

variable "package" {
  description = "The Debian package, in Cloud Storage: gs://BUCKET/tombolo-proxy_VERSION_amd64.deb."
  type        = string

  validation {
    condition     = can(regex("^gs://[^/]+/.+[.]deb$", var.package))
    error_message = "Expected gs://BUCKET/PATH.deb."
  }
}

variable "name" {
  description = "Prefix of all names."
  type        = string
  default     = "tombolo-proxy"
}

variable "memory_gb" {
  description = "Memory of the Redis, in GiB."
  type        = number
  default     = 1
}

variable "machine_type" {
  description = "Machine type of the proxies."
  type        = string
  default     = "e2-small"
}

variable "proxies" {
  description = "How many proxies, over the zones of the region."
  type        = number
  default     = 3

  validation {
    condition     = var.proxies >= 1
    error_message = "Expected at least 1."
  }
}

variable "port" {
  description = "Port that clients connect to."
  type        = number
  default     = 6379
}
