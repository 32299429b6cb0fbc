package lab

import (
	"errors"
	"fmt"
	"sync"

	"github.com/fsnotify/fsnotify"
)

// consoles follows the console files of one lab, by inotify: what a guest prints is seen when it prints it.
type consoles struct {
	watcher *fsnotify.Watcher
	wg      sync.WaitGroup

	mu   sync.Mutex
	list map[string]*console
}

func watchConsoles(dir string) (*consoles, error) {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watch the consoles: %w (raise fs.inotify.max_user_instances)", err)
	}
	if err := watcher.Add(dir); err != nil {
		return nil, errors.Join(fmt.Errorf("watch the consoles in %s: %w", dir, err), watcher.Close())
	}
	c := &consoles{watcher: watcher, list: map[string]*console{}}
	c.wg.Go(c.run)
	return c, nil
}

func (c *consoles) run() {
	for {
		select {
		case event, ok := <-c.watcher.Events:
			if !ok {
				return
			}
			if one := c.find(event.Name); one != nil {
				_ = one.read() // a file that cannot be read now is read at its next event
			}
		case _, ok := <-c.watcher.Errors:
			if !ok {
				return
			}
			c.readAll() // events were lost
		}
	}
}

func (c *consoles) find(path string) *console {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.list[path]
}

func (c *consoles) add(one *console) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list[one.path] = one
}

func (c *consoles) readAll() {
	c.mu.Lock()
	list := make([]*console, 0, len(c.list))
	for _, one := range c.list {
		list = append(list, one)
	}
	c.mu.Unlock()
	for _, one := range list {
		_ = one.read()
	}
}

// Close stops following, after a last look.
func (c *consoles) Close() error {
	if c == nil {
		return nil
	}
	err := c.watcher.Close()
	c.wg.Wait()
	c.readAll()
	for _, one := range c.list {
		err = errors.Join(err, one.close())
	}
	return err
}
