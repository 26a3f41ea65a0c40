"""The OAuth 2.1 authorization server: applications that act for users. Authlib holds the grants' logic."""
