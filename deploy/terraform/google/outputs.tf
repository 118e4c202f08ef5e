output "address" {
  description = "What clients connect to, from the network and from networks that are peered with it."
  value       = "${google_compute_address.proxy.address}:${var.port}"
}

output "redis" {
  description = "The Redis, which only the network itself reaches."
  value       = "${google_redis_instance.redis.host}:${google_redis_instance.redis.port}"
}
