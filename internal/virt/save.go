package virt

import (
	"context"
	"fmt"

	"libvirt.org/go/libvirt"
	"libvirt.org/go/libvirtxml"

	"ionlab/internal/lab"
)

// Save writes the machine's memory and the state of its devices to path, which the user that runs QEMU must be able to
// create, and ends the domain: its last change is lab.Stopped. It is restored paused. After an error the domain runs on,
// paused if it was. The file holds everything that is in the guest's memory. Source: virDomainSaveFlags.
func (m *Machine) Save(ctx context.Context, path string) error {
	dom, err := m.domain()
	if err != nil {
		return fmt.Errorf("save: %w", err)
	}
	return do(ctx, fmt.Sprintf("save domain %q to %s", m.name, path), func() error {
		return dom.SaveFlags(path, "", libvirt.DOMAIN_SAVE_PAUSED)
	})
}

// Restore starts the domain that Save wrote to path, paused, with the paths of another definition. Name, UUID and all
// that the guest can see of its hardware must be the same in it. libvirt draws a new generation id by itself, but wants
// the definition to have the old one, which it drew before. Source: virDomainRestoreFlags.
func (h *Hypervisor) Restore(ctx context.Context, name, xml, path string) (lab.Machine, error) {
	return h.launch(ctx, name, "restore", func() (*libvirt.Domain, error) {
		saved, err := h.conn.DomainSaveImageGetXMLDesc(path, 0)
		if err != nil {
			return nil, err
		}
		if xml, err = withGenerationOf(saved, xml); err != nil {
			return nil, err
		}
		if err := h.conn.DomainRestoreFlags(path, xml, libvirt.DOMAIN_SAVE_PAUSED); err != nil {
			return nil, err
		}
		return h.conn.LookupDomainByName(name)
	})
}

// withGenerationOf gives xml the generation id of a saved definition.
func withGenerationOf(saved, xml string) (string, error) {
	var from, to libvirtxml.Domain
	if err := from.Unmarshal(saved); err != nil {
		return "", fmt.Errorf("read the saved definition: %w", err)
	}
	if err := to.Unmarshal(xml); err != nil {
		return "", fmt.Errorf("read the definition: %w", err)
	}
	to.GenID = from.GenID
	return to.Marshal()
}

// Version is the version of the private libvirtd. It does not ask for QEMU's, which would have libvirt probe it.
func (h *Hypervisor) Version(ctx context.Context) (string, error) {
	var version uint32
	err := do(ctx, "ask libvirt for its version", func() (err error) {
		version, err = h.conn.GetLibVersion()
		return err
	})
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d.%d.%d", version/1000000, version/1000%1000, version%1000), nil
}
