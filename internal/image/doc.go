// Package image keeps the immutable base disks that nodes boot from.
//
// A Store is a folder that any number of processes share. Its objects are addressed by their content, read-only, filled in a
// temporary folder and renamed; references lead from what a caller can name (a catalog entry, packages on top of one, a path, an
// imported name) to an object. A reference is filled under a lock, so that of several processes one works and the others wait.
// An Image in use holds a shared lock on its object until Close, or until its process dies, and is never evicted.
//
// Images come four ways: built on the host by mmdebstrap and mke2fs from a recipe, with or without further packages; downloaded
// from a URL with a digest; imported; or named by path. A present image is opened without touching the network.
//
//	store, err := image.Open(image.Config{Dir: "/var/cache/labtest/images", Log: log})
//	img, err := store.Ensure(ctx, image.Request{Name: "debian-12", Packages: []string{"curl"}})
//	defer img.Close()
package image
