# What a run may change in place; the defaults are the story.

variable "region" {
  type    = string
  default = "us-central1"
}

variable "zone" {
  type    = string
  default = "us-central1-a"
}

variable "internal_sources" {
  description = "From where vpc-2 takes everything"
  type        = list(string)
  default     = ["10.0.0.0/8"]
}

variable "internal_description" {
  type    = string
  default = "Everything from private addresses"
}

variable "vm_2_tags" {
  description = "The rule is for instances with the tag 'internal'"
  type        = list(string)
  default     = ["internal"]
}

variable "labels" {
  description = "Labels of vm-1 and redis-1"
  type        = map(string)
  default     = { app = "story" }
}

variable "redis_display_name" {
  type    = string
  default = "The first"
}

variable "private_ip_google_access" {
  type    = bool
  default = false
}

variable "routing_mode" {
  type    = string
  default = "REGIONAL"
}

variable "proxy_status" {
  type    = string
  default = "RUNNING"
}

variable "subnet_1_range" {
  type    = string
  default = "10.1.0.0/16"
}

variable "maxmemory_policy" {
  type    = string
  default = "allkeys-lru"
}

variable "proxy_machine_type" {
  type    = string
  default = "e2-small"
}

variable "consumer_limit" {
  description = "How many endpoints the first project may have"
  type        = number
  default     = 1
}
