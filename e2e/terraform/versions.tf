# The provider's block is in provider.tf, which `tombolo env --terraform` writes.
terraform {
  required_version = ">= 1.5"

  required_providers {
    google = {
      source = "hashicorp/google"
    }
  }
}
